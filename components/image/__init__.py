"""The modality image: diffusion models that draw a character."""

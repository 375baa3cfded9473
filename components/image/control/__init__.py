"""The modality control: a ControlNet (arXiv 2302.05543) is trained on a base, measured and registered."""

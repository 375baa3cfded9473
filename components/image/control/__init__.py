"""The modality control: trains a ControlNet (arXiv 2302.05543) on a base, measures it, registers it; nobody serves it alone."""

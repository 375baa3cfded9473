"""Pictures that steer a ControlNet (arXiv 2302.05543): line art and pose figures, found, drawn or given."""

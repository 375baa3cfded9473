"""Pictures that steer a ControlNet (arXiv 2302.05543): line art and pose figures, found, drawn or given."""

CONTROLNETS = "controlnets"
"""Where a promoted model carries ControlNets."""
NETWORK, READER, CARD = "controlnet", "reader", "control.json"
"""A trained ControlNet's folder; in it the reader of key points (poses), and what it is: kind, base, steps."""

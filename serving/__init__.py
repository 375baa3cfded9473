"""Kyara's servers: the BentoML service that draws, and the shapes in which it answers."""

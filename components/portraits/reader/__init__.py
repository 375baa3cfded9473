"""Reads a request, mistakes and all, as attributes of the vocabulary."""

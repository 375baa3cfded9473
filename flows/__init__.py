"""Orchestration: the pipeline as a Prefect flow, the command line, scheduled work."""

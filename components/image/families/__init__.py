"""What differs between model families (SD 1.5 and the embedded base, SDXL), and nothing else does."""

"""Training: the dataset's cache, the loop with its checkpoints, LoRA, and the image trainer on top of them."""

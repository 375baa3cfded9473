"""What a model is worth: pictures at equal prompts and seeds, figures with intervals, speed, and the gate before promotion."""

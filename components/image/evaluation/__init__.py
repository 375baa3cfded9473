"""What a model is worth: pictures at equal seeds, figures with intervals, speed, and the gate before promotion."""

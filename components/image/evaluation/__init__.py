"""What a model is worth: pictures at equal seeds, metrics with intervals, speed, and the gate before promotion."""

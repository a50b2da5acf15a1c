"""Training: optimizers, checkpoints, metrics and the loop."""

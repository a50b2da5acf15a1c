"""The long-tailed idea: gradient statistics per class, and how they shape a loss."""

"""What an epoch of training holds: which images, how often, in which order."""

"""Trained detectors, used: from a run folder to the objects in an image."""

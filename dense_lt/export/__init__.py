"""Trained detectors as one file that runs without this package."""

"""Weights of other libraries, into our detectors and back."""

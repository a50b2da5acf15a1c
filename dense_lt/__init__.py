"""Long-tailed object detection: dense and two-stage detectors, equalization losses, one set of gradient statistics."""

"""Long-tailed object detection: dense detectors, equalization losses, shared statistics."""

"""From detections to numbers: predictions, metrics and results."""

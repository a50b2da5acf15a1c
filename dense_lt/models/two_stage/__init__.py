"""The two-stage detector: proposals, regions, heads."""

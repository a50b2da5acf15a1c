"""Assigners: which ground truth each prior learns."""

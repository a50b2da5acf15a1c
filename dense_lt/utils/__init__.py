"""Processes, seeds, logs, errors."""

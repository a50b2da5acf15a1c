"""Settings, no behaviour."""

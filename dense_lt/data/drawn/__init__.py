"""The drawn long-tailed data set: the embedded default, the same bytes from the same settings."""

"""One module per command; composes the storeys below and decides nothing."""

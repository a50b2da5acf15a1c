"""Pure functions of tensors: no state, no side effects."""

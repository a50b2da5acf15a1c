"""The sigmoid loss family (focal, EFL, EQFL, EQL v2, BCE) as one function with sparse labels."""

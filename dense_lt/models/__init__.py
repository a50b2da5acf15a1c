"""Everything with weights, and how it is wired."""

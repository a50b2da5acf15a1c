"""Several data sets as one: a common class table, one numbering of the images."""

"""Open Images: its CSV files and its hierarchy, from and to the columns of an annotation table."""

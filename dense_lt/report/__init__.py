"""From numbers to pages: tables, figures and the comparison of runs."""

"""In which order training sees the images of a data set."""

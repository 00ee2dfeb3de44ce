"""Studies: what has to be trained, where it is trained, what is kept."""

"""Files of every layout in, examples out."""

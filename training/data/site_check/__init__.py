"""A hospital's images and table compared, as one page for its data manager."""

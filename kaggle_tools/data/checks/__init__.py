"""What others made, before it is used: names, masks and zip files."""

"""What a page says of a run, of runs beside each other, of masks, of submissions."""

"""Names and masks as others made them: which can be used, and what in them is foreground."""

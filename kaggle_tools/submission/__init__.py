"""CSV files of run lengths: write, check, score."""

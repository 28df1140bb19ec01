"""What sets competitions apart: read from files, which come with the package or are one's own, and recorded."""

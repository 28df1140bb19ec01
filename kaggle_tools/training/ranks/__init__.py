"""What several processes, each with a device of its own, do as one when they train a fold together."""

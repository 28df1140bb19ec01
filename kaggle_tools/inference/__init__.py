"""From photos and weights to probabilities and masks."""

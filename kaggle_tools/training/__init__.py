"""From photos to weights: one fold, several folds, and what a training step is made of."""

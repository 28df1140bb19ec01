"""Photos and masks: which files there are, and files to arrays, tensors and folds."""

"""Photos and masks to tensors, for networks to train on and to predict."""

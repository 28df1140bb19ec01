"""Neural networks: build them, save them, load them."""

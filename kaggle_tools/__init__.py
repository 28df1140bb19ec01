"""From a competition's photos to a place on Kaggle's leaderboard: train, infer, submit."""

__version__ = "0.1.0"

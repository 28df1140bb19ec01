"""Kaggle: download, submit once, keep the ledger. `worker` alone imports the `kaggle` package."""

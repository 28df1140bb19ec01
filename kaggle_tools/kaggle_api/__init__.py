"""Kaggle: download, submit once, keep the ledger. `child_process` alone imports the `kaggle` package."""

"""The commands: options, then a few calls. `kaggle_tools.__main__` puts them together."""

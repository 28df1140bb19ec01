"""Every option of a training, each written once.

training.py    what decides the result
execution.py   what does not
presets.py     configurations by name

The command line of `train`, `config.json`, the processes of `--parallel-folds` and the tables in the docs follow from
these.
"""

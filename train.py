"""Train the folds of a model: `python train.py --help`.

Where the package is installed, `kaggle-tools train` is the same command.
Its code is `kaggle_tools/commands/train.py`.
"""

from kaggle_tools import cli
from kaggle_tools.commands.train import train

if __name__ == "__main__":
    cli.run(cli.app_of(train))

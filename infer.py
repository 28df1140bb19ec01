"""Mask photos with trained networks: `python infer.py --help`.

Where the package is installed, `kaggle-tools infer` is the same command.
Its code is `kaggle_tools/commands/infer.py`.
"""

from kaggle_tools import cli
from kaggle_tools.commands.infer import infer

if __name__ == "__main__":
    cli.run(cli.app_of(infer))

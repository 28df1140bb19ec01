"""Submit masks and wait for their score: `python submit.py --help`.

Where the package is installed, `kaggle-tools submit` is the same command.
Its code is `kaggle_tools/commands/submit.py`.
"""

from kaggle_tools import cli
from kaggle_tools.commands.submit import submit

if __name__ == "__main__":
    cli.run(cli.app_of(submit))

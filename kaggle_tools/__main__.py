"""`python -m kaggle_tools COMMAND`, or `kaggle-tools COMMAND` where the package is installed: all commands."""

from kaggle_tools import cli
from kaggle_tools.commands.blend import blend
from kaggle_tools.commands.csv_files import check, score
from kaggle_tools.commands.data import demo_data, download, draft, unpack
from kaggle_tools.commands.infer import infer
from kaggle_tools.commands.runs import compare, report
from kaggle_tools.commands.submissions import submissions
from kaggle_tools.commands.submit import submit
from kaggle_tools.commands.train import train

app = cli.new_app()


@app.callback(no_args_is_help=True)
def commands() -> None:
    """From a competition's photos to a place on the leaderboard."""


for command in (
    download,
    unpack,
    draft,
    demo_data,
    train,
    infer,
    blend,
    submit,
    score,
    check,
    submissions,
    compare,
    report,
):
    app.command(no_args_is_help=command in (train, infer, submit))(command)


def main() -> None:
    """Run the command line."""
    cli.run(app)


if __name__ == "__main__":
    if __spec__ and __spec__.name == "__main__":
        __spec__ = None  # `python kaggle_tools`: else Lightning starts its other processes as `python -m __main__`
    main()

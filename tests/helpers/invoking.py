"""Commands of `kaggle-tools`, run in this process."""

from click.testing import Result
from typer.testing import CliRunner

from kaggle_tools.__main__ import app


def invoke(*words: object) -> Result:
    return CliRunner().invoke(app, list(map(str, words)))


def said(*words: object) -> str:
    """What the command prints; it must succeed."""
    result = invoke(*words)
    assert result.exit_code == 0, result.output
    return result.output

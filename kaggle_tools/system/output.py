"""What commands print: text from outside is shown, never obeyed, and no fault of the output ends the work."""

import io
import os
import sys
from functools import cache
from pathlib import Path
from typing import TextIO

LOST: list[OSError] = []
"""Why output could not be written, for the end of the command."""


class LastingOutput(io.TextIOWrapper):
    """An output stream that is silent once it cannot be written any more, so that the work goes on.

    The reader of a pipe may have ended (`| head -1`), the disk of a log file may be full.
    """

    def write(self, text: str) -> int:
        """Write the text, or nothing."""
        try:
            return super().write(text)
        except OSError as error:
            self._fall_silent(error)
            return len(text)

    def flush(self) -> None:
        """Flush, or do nothing."""
        try:
            super().flush()
        except OSError as error:
            self._fall_silent(error)

    def _fall_silent(self, error: OSError) -> None:
        # What is left in the buffers goes there too, at the latest when Python ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), self.fileno())
        if not isinstance(error, BrokenPipeError):  # whoever closes a pipe has read enough
            LOST.append(error)


def say(text: object, *, to: TextIO | None = None) -> None:
    """Print a line, to stdout unless told otherwise, with what could command a terminal made visible."""
    print(printable(str(text)), file=to, flush=True)


def warn(text: object) -> None:
    """Print a warning, to stderr."""
    say(f"warning: {text}", to=sys.stderr)


@cache
def warn_once(text: str) -> None:
    """Print a warning, to stderr, if this process has not done so before."""
    warn(text)


def printable(text: str) -> str:
    r"""The text with all characters that a terminal does not show as such written out, such as `\x1b`.

    File names, tables, messages of Kaggle and of libraries may hold escape sequences, or letters that turn the
    direction of writing. Line ends and tabs stay.
    """
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() or char in "\n\t" else _written_out(char) for char in text)


def make_lasting() -> None:
    """Let no fault of stdout and stderr end the command: closed, full, or in an encoding without the characters."""
    _open_closed()
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # closed before the start, by `>&-`
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115
        elif type(stream) is io.TextIOWrapper:
            setattr(sys, name, _lasting(stream))


def _open_closed() -> None:
    """Open those of stdin, stdout and stderr that were closed before the start, also for the processes that follow.

    Otherwise a file that is opened later takes the place of one, and Kaggle's client starts without stderr.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # which takes the lowest free number: this one


def _lasting(stream: io.TextIOWrapper) -> LastingOutput:
    stream.flush()
    return LastingOutput(
        open(stream.fileno(), "wb", closefd=False),
        encoding=stream.encoding,
        errors="backslashreplace",
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )


def _written_out(char: str) -> str:
    return char.encode("unicode_escape").decode("ascii")

"""The failures that a user can repair. The commands print their text alone, without a traceback.

KaggleToolsError
├── InputError        a file, a folder or an option is not as it must be
│   └── SharedError   all processes that work together raise it; the first one says it
├── LeaderboardError  Kaggle refused, failed or did not answer
└── OutOfTimeError    stopped where it was asked to stop; the same command continues
"""

OF_A_WORKER = "DataLoader worker"
"""In torch's errors of the processes that load photos."""
LONGEST_MESSAGE = 4_000
"""Characters. What was found may be as long as a file that is damaged."""


class KaggleToolsError(Exception):
    """Says what was found, where, and what to do."""

    def __init__(self, message: str) -> None:
        half = LONGEST_MESSAGE // 2
        super().__init__(message if len(message) <= LONGEST_MESSAGE else f"{message[:half]} … {message[-half:]}")


class InputError(KaggleToolsError):
    """A file, a folder or an option is not as it must be."""


class SharedError(InputError):
    """An InputError that all processes that work together raise. The first one says it, if it is not empty."""


class LeaderboardError(KaggleToolsError):
    """Kaggle refused, failed or did not answer."""


class OutOfTimeError(KaggleToolsError):
    """Stopped where it was asked to stop; the same command continues."""

    exit_code = 75  # "try again", as sysexits.h has it: neither success nor failure


FEW = 3


def first_few(items: list[str], limit: int = FEW, *, count: int | None = None) -> str:
    """`a, b, c and 7 more`: enough names to find the fault, not so many that nobody reads them.

    With `count` there are so many, of which `items` are the first.
    """
    count = len(items) if count is None else count
    named = ", ".join(items[:limit])
    return named if count <= limit else f"{named} and {count - limit:,} more"


def counted(count: int, thing: str, things: str = "") -> str:
    """`1 mask`, or `1,200 masks`; with `things` where more than an s is added: `2 masks are`."""
    return f"{count:,} {thing if count == 1 else things or thing + 's'}"


def counted_of(count: int, total: int, thing: str) -> str:
    """`3 of 1,200 masks are`, `1 of 2 masks is`, `all 5 masks are` or `the only mask is`."""
    if count == total:
        return f"the only {thing} is" if total == 1 else f"all {total:,} {thing}s are"
    return f"{count:,} of {total:,} {thing}s {'is' if count == 1 else 'are'}"


def in_lines(found: str, items: list[str], limit: int) -> str:
    """`found:`, and below it the first items, a line for each, and how many more there are."""
    more = [f"and {len(items) - limit:,} more"] if len(items) > limit else []
    return "\n  ".join([f"{found}:", *items[:limit], *more])

"""Values that were read from JSON, each checked to be of the type that is expected there.

They are returned as they are, so that what is written again has the same bytes. Knows nothing of files.
"""

from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")


def text(recorded: Any) -> str:
    """A string.

    Raises:
        TypeError: it is none.
    """
    if not isinstance(recorded, str):
        raise TypeError(f"{recorded!r} is not a text")
    return recorded


def whole(recorded: Any) -> int:
    """A whole number.

    Raises:
        TypeError: it is none.
    """
    if isinstance(recorded, bool) or not isinstance(recorded, int):
        raise TypeError(f"{recorded!r} is not a whole number")
    return recorded


def floating(recorded: Any) -> float:
    """A number, which may have been written without a decimal point.

    Raises:
        TypeError: it is none.
    """
    if isinstance(recorded, bool) or not isinstance(recorded, int | float):
        raise TypeError(f"{recorded!r} is not a number")
    return recorded


def mapping(recorded: Any) -> dict[str, Any]:
    """A JSON object.

    Raises:
        TypeError: it is none.
    """
    if not isinstance(recorded, dict):
        raise TypeError(f"{recorded!r} is not a JSON object")
    return recorded


def optional(read: Callable[[Any], T], recorded: Any) -> T | None:
    """What `read` makes of it; None stays None."""
    return None if recorded is None else read(recorded)

"""The draft of a competition's file, as a person reads and completes it."""

import json
from collections.abc import Mapping
from typing import Any

from kaggle_tools.data.drafting.conclusions import Finding
from kaggle_tools.system.output import printable

HEAD = """\
# Drafted from what lies in {folder}. Look at what is "guessed"; docs/competitions.md explains each field.
# What there is to download, `archives`, no folder tells; without it, `download` and `unpack` have nothing to do.
"""


def as_toml(fields: Mapping[str, Finding], folder: str) -> str:
    """The text of the file, a comment above each field that says where it comes from."""
    parts = [f"# {found.how}: {_line(found.why)}\n{name} = {_value(found.value)}\n" for name, found in fields.items()]
    return HEAD.format(folder=_line(folder)) + "\n" + "".join(parts)


def _line(text: str) -> str:
    """A comment ends with its line."""
    return " ".join(printable(text).split())


def _value(value: Any) -> str:
    """As TOML has texts, numbers, lists and tables of these: for what stands in these fields, but tables, as JSON."""
    if isinstance(value, dict):
        return f"{{ {', '.join(f'{name} = {_value(one)}' for name, one in value.items())} }}"
    return json.dumps(value, ensure_ascii=False)

"""How a field of a dataclass becomes an option of the command line, so that an option is written once.

    @dataclass(frozen=True)
    class Settings:
        epochs: Annotated[int, Option("Passes over the training photos.", panel="Optimisation")] = 30

    @takes(options_of(Settings))
    def command(out: Path, **options: object) -> None:
        settings = applied(Settings(), options_of(Settings), options)

The command then has `--epochs`, with this help and this default. Imports nothing heavy, so that `--help` answers
at once.
"""

import inspect
import math
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import wraps
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, TypeVar, get_args, get_origin, get_type_hints

import typer

from kaggle_tools.errors import InputError
from kaggle_tools.system.json_values import LARGEST_NUMBER

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    T = TypeVar("T", bound=DataclassInstance)

Command = Callable[..., None]


class Check(NamedTuple):
    """A condition for the value of an option."""

    holds: Callable[[Any], bool]
    message: str
    """What is required, as in `must be above 0`."""


ABOVE_0 = Check(lambda value: value > 0, "must be above 0")
AT_LEAST_0 = Check(lambda value: value >= 0, "must not be below 0")
FINITE = "must be a finite number"
TOO_LARGE = f"must not be above {LARGEST_NUMBER:,}"  # nor could what records it be read again
MOST_DIGITS = 15
"""Python itself refuses to read whole numbers of thousands of them."""
DURATION = re.compile(r"(?:(\d{1,5})h)?(?:(\d{1,5})m)?(?:(\d{1,5})s)?")
SHARE = Check(lambda value: 0 <= value < 1, "must be at least 0 and below 1")


def between(lowest: int, highest: int) -> Check:
    """A number from the lowest to the highest, both included."""
    return Check(lambda value: lowest <= value <= highest, f"must be from {lowest:,} to {highest:,}")


@dataclass(frozen=True)
class Option:
    """What the command line says of a field, as a part of the field's type."""

    help: str
    panel: str
    """The heading under which `--help` lists it."""
    metavar: str | None = None
    """What stands for the value in the help."""
    names: str | None = None
    """As Typer declares it, such as `--report/--no-report`; by default it follows from the field's name."""
    parse: Callable[[str, str], object] | None = None
    """Makes the value from the option's name and its text, where the field's type alone does not say how."""
    write: Callable[[Any], str] | None = None
    """Makes the text of a value, the inverse of `parse`, where `as_text` does not."""
    none: str = "off"
    """The text of None."""
    minimum: float | None = None
    """The lowest number that the command line accepts."""
    check: Check | None = None
    """What its value must be, wherever it comes from."""
    default: str | None = None
    """The default in words, where its value does not say it."""


@dataclass(frozen=True)
class OptionField:
    """A field of a dataclass that is an option of a command."""

    name: str
    type: Any
    default: Any
    option: Option
    preset: str | None = None
    """The preset that the shown default belongs to; the command itself receives None where nothing is given."""

    @property
    def flag(self) -> str:
        """The option as it is typed: `--image-size`."""
        return (self.option.names or "--" + self.name.replace("_", "-")).partition("/")[0]

    @property
    def shown_default(self) -> str:
        """The default in words."""
        return self.option.default or self.text(self.default)

    def text(self, value: Any) -> str:
        """A value as it is typed."""
        if value is None or value is False:
            return self.option.none
        return self.option.write(value) if self.option.write else as_text(value)

    def check(self, value: Any) -> None:
        """Check a value.

        Raises:
            InputError: it is not possible.
            TypeError: it is not of the option's type.
        """
        if not _is_of(self.type, value):
            raise TypeError(f"{self.name} is {value!r}")
        if value is None:
            return
        if fault := _fault_of_numbers(value):
            raise InputError(f"{self.flag} {self.text(value)}: {fault}")
        choices = get_args(self.type) if get_origin(self.type) is Literal else ()
        if choices and value not in choices:
            raise InputError(f"{self.flag} {value}: must be one of {', '.join(choices)}")
        required = self.option.check
        if required and not required.holds(value):
            raise InputError(f"{self.flag} {self.text(value)}: {required.message}")

    def parameter(self) -> inspect.Parameter:
        """The parameter that Typer reads."""
        of_preset = f"{self.shown_default} in preset {self.preset}" if self.preset else None
        info = typer.Option(
            *filter(None, [self.option.names]),
            help=self.option.help,
            metavar=self.option.metavar,
            min=self.option.minimum,
            rich_help_panel=self.option.panel,
            show_default=of_preset or self.option.default or True,
        )
        typed = str if self.option.parse else self.type
        default = None if self.preset else self.default
        return inspect.Parameter(
            self.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=default,
            annotation=Annotated[typed | None if default is None else typed, info],
        )


def options_of(dataclass_type: type, preset: str | None = None) -> list[OptionField]:
    """The fields of a dataclass that are options, panel by panel.

    With `preset`, an option that is not given is None, and the help shows the field's default as that of the preset.
    """
    hints = get_type_hints(dataclass_type, include_extras=True)
    found = []
    for field in fields(dataclass_type):
        if get_origin(hints[field.name]) is Annotated:
            field_type, option = get_args(hints[field.name])
            found.append(OptionField(field.name, field_type, field.default, option, preset))
    panels = list(dict.fromkeys(one.option.panel for one in found))
    return sorted(found, key=lambda one: panels.index(one.option.panel))


def takes(*option_fields: Sequence[OptionField]) -> Callable[[Command], Command]:
    """Give a command these options, which it receives as its `**options`."""

    def decorate(command: Command) -> Command:
        @wraps(command)
        def with_options(*args: object, **kwargs: object) -> None:
            command(*args, **kwargs)

        own = inspect.signature(command)
        kept = [one for one in own.parameters.values() if one.kind is not inspect.Parameter.VAR_KEYWORD]
        added = [one.parameter() for many in option_fields for one in many]
        with_options.__signature__ = own.replace(parameters=[*kept, *added])  # type: ignore[attr-defined]
        return with_options

    return decorate


def applied(value: "T", option_fields: Sequence[OptionField], options: Mapping[str, Any]) -> "T":
    """A value of the dataclass with the options that were given in the place of its own.

    Raises:
        InputError: a text is not of the option's form, or the dataclass refuses a value.
    """
    given = [one for one in option_fields if options.get(one.name) is not None]
    return replace(value, **{one.name: _parsed(one, options[one.name]) for one in given})


def check_options(value: object) -> None:
    """Check all options of a value of a dataclass, for its `__post_init__`.

    Raises:
        InputError: one of them is not possible.
    """
    for one in options_of(type(value)):
        one.check(getattr(value, one.name))


def arguments_of(value: object) -> list[str]:
    """The words on the command line that make this value of a dataclass of options: what differs from the defaults."""
    words = []
    for one in options_of(type(value)):
        chosen = getattr(value, one.name)
        if chosen == one.default:
            continue
        if isinstance(chosen, bool):
            names = (one.option.names or f"{one.flag}/--no-{one.flag[2:]}").split("/")
            words.append(names[0] if chosen else names[1])
        else:
            words += [one.flag, one.text(chosen)]
    return words


def as_text(value: object) -> str:
    """A value as it is typed: `0.75,1` for a tuple of numbers."""
    if isinstance(value, tuple):
        return ",".join(f"{one:g}" if isinstance(one, float) else str(one) for one in value)
    return str(value)


def parse_probability(option: str, text: str) -> float:
    """A number between 0 and 1.

    Raises:
        InputError: it is none.
    """
    value = _number(text)
    if not 0 < value < 1:
        raise InputError(f"{option} {text}: must be a number between 0 and 1, or auto")
    return value


def parse_numbers(option: str, text: str) -> tuple[float, ...]:
    """`0.75,1,1.25` as numbers above 0.

    Raises:
        InputError: it is not of this form.
    """
    numbers = tuple(_number(part) for part in text.split(","))
    if not all(number > 0 and math.isfinite(number) for number in numbers):
        raise InputError(f"{option} {text}: must be numbers above 0 with commas between them, as 0.75,1,1.25")
    if fault := _fault_of_numbers(numbers):
        raise InputError(f"{option} {text}: {fault}")
    return numbers


def parse_count(option: str, text: str) -> int:
    """A whole number above 0.

    Raises:
        InputError: it is none.
    """
    count = _whole(text)
    if not count:
        raise InputError(f"{option} {text}: must be a whole number above 0, or auto")
    return count


def parse_size(option: str, text: str) -> tuple[int, int]:
    """`HxW` as (height, width) in pixels.

    Raises:
        InputError: it is not of this form.
    """
    height, _, width = text.lower().partition("x")
    sides = _whole(height), _whole(width)
    if sides[0] is None or sides[1] is None:
        raise InputError(f"{option} {text}: must be HEIGHTxWIDTH in pixels, as 256x384")
    return sides[0], sides[1]


def parse_duration(option: str, text: str) -> float:
    """`45m`, `2h`, `1h30m` or `90s` in seconds.

    Raises:
        InputError: it is not of this form, or nothing.
    """
    found = DURATION.fullmatch(text.lower())
    hours, minutes, seconds = (int(count or 0) for count in found.groups()) if found else (0, 0, 0)
    if not hours + minutes + seconds:
        raise InputError(f"{option} {text}: must be hours, minutes or seconds, as 45m, 2h or 1h30m")
    return 3600.0 * hours + 60 * minutes + seconds


def size_as_text(size: Sequence[int]) -> str:
    """(height, width) as `HxW`."""
    return "x".join(map(str, size))


def finite(option: typer.CallbackParam, value: float | None) -> float | None:
    """Refuse infinity, which a lowest number lets pass: the `callback` of an option that no dataclass has.

    Raises:
        InputError: the value is infinite, or NaN, or larger than any should be.
    """
    if fault := _fault_of_numbers(value):
        raise InputError(f"{option.opts[0]} {value}: {fault}")
    return value


def _is_of(expected: Any, value: object) -> bool:
    """Whether a value is of the type of an option: a plain type, a tuple of one, a Literal or a union of these."""
    origin, parts = get_origin(expected), get_args(expected)
    if origin is Literal:
        return isinstance(value, str)  # which one of them is checked by itself
    if origin is tuple:
        lengths_fit = parts[-1] is Ellipsis or (isinstance(value, tuple) and len(value) == len(parts))
        return isinstance(value, tuple) and lengths_fit and all(_is_of(parts[0], one) for one in value)
    if parts:
        return any(_is_of(part, value) for part in parts)
    if expected is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    return isinstance(value, expected) and (expected is bool or not isinstance(value, bool))


def _fault_of_numbers(value: object) -> str:
    """What is wrong with the numbers in the value of an option, if it holds any: empty where nothing is."""
    if isinstance(value, tuple):
        return next(filter(None, map(_fault_of_numbers, value)), "")
    if not isinstance(value, int | float) or abs(value) <= LARGEST_NUMBER:
        return ""
    return TOO_LARGE if abs(value) <= sys.float_info.max else FINITE


def _parsed(field: OptionField, given: Any) -> Any:
    if field.option.parse and not given:
        raise InputError(f"{field.flag}: empty; give a value")
    return field.option.parse(field.flag, given) if field.option.parse else given


def _whole(text: str) -> int | None:
    return int(text) if text.isdecimal() and len(text) <= MOST_DIGITS else None


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan

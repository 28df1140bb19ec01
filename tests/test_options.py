from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
import typer
from typer.testing import CliRunner

from kaggle_tools import cli, options
from kaggle_tools.commands.infer import infer
from kaggle_tools.commands.submit import submit
from kaggle_tools.errors import InputError
from kaggle_tools.options import Option, applied, arguments_of, options_of, takes


@dataclass(frozen=True)
class Settings:
    """Options of every kind, between which stands a field that is none."""

    count: Annotated[int, Option("How many.", "Numbers", minimum=0)] = 3
    kind: Annotated[Literal["a", "b"], Option("Which.", "Words")] = "a"
    secret: int = 0
    size: Annotated[
        tuple[int, int] | None,
        Option("How large.", "Numbers", "HxW", parse=options.parse_size, write=options.size_as_text),
    ] = None
    fast: Annotated[bool, Option("Quickly.", "Words", names="--quick")] = False
    page: Annotated[bool, Option("Write it.", "Words", names="--page/--no-page")] = True
    factors: Annotated[tuple[float, ...], Option("By what.", "Numbers", parse=options.parse_numbers)] = (1.0,)
    word: Annotated[str | None, Option("Any.", "Words")] = None


OPTIONS = options_of(Settings)


def app(received: list[dict[str, Any]], preset: str | None = None) -> typer.Typer:
    """A command that notes what it is given."""

    @takes(options_of(Settings, preset))
    def command(out: Path, **given: Any) -> None:
        """Do it."""
        received.append({"out": out, **given})

    return cli.app_of(command)


def call(*words: str, preset: str | None = None) -> dict[str, Any]:
    received: list[dict[str, Any]] = []
    done = CliRunner().invoke(app(received, preset), list(words))
    assert done.exit_code == 0, done.output
    return received[0]


def test_a_command_gets_the_defaults_of_the_fields() -> None:
    given = call("x")
    assert given["out"] == Path("x")
    assert (given["count"], given["kind"], given["fast"], given["page"], given["word"]) == (3, "a", False, True, None)


def test_a_field_without_an_option_is_not_on_the_command_line() -> None:
    assert "secret" not in call("x")
    assert CliRunner().invoke(app([]), ["x", "--secret", "1"]).exit_code == 2


def test_given_options_become_the_values_of_their_fields() -> None:
    given = call("x", "--count", "5", "--kind", "b", "--size", "20x30", "--quick", "--no-page", "--factors", "1,2")
    settings = applied(Settings(), OPTIONS, given)
    assert settings == Settings(count=5, kind="b", size=(20, 30), fast=True, page=False, factors=(1.0, 2.0))


def test_with_a_preset_only_given_options_have_a_value() -> None:
    preset = Settings(count=9, kind="a", secret=1)
    assert applied(preset, OPTIONS, call("x", "--kind", "b", preset="large")) == Settings(count=9, kind="b", secret=1)


def test_the_help_shows_panels_metavars_and_the_defaults_of_the_preset() -> None:
    said = CliRunner().invoke(app([], preset="large"), ["--help"], env={"COLUMNS": "100"}).output
    assert said.index("Numbers") < said.index("--count") < said.index("--size") < said.index("Words")
    assert "[default: (3 in preset large)]" in said
    assert "[default: (off in preset large)]" in said
    assert "HxW" in said


@pytest.mark.parametrize(
    ("word", "message"), [("20", "--size 20: must be HEIGHTxWIDTH"), ("-1x5", "--size -1x5: must be HEIGHTxWIDTH")]
)
def test_a_value_that_cannot_be_parsed_names_its_option(word: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        applied(Settings(), OPTIONS, {"size": word})


def test_an_option_below_its_minimum_is_refused() -> None:
    assert CliRunner().invoke(app([]), ["x", "--count", "-1"]).exit_code == 2


def test_the_arguments_of_a_value_are_the_options_that_differ_from_their_defaults() -> None:
    assert arguments_of(Settings()) == []
    changed = Settings(count=5, fast=True, page=False, factors=(0.5, 2.0), word="w")
    assert arguments_of(changed) == ["--count", "5", "--factors", "0.5,2", "--quick", "--no-page", "--word", "w"]


def test_a_value_is_the_same_after_becoming_arguments_and_being_parsed() -> None:
    settings = Settings(count=0, kind="b", size=(20, 30), fast=True, page=False, factors=(0.5,), word="w w")
    given = call("x", *arguments_of(settings))
    assert applied(Settings(), OPTIONS, given) == settings


def test_a_size_is_parsed_as_height_by_width() -> None:
    assert options.parse_size("--size", "256x384") == (256, 384)


@pytest.mark.parametrize("text", ["256", "256x", "x384", "-1x5", "axb", "256*384"])
def test_a_size_of_another_form_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="--size .*: must be HEIGHTxWIDTH"):
        options.parse_size("--size", text)


@pytest.mark.parametrize("text", ["0", "1", "nan", "half", "-0.5"])
def test_a_probability_that_is_not_between_0_and_1_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="--threshold"):
        options.parse_probability("--threshold", text)
    assert options.parse_probability("--threshold", "0.25") == 0.25


def test_numbers_are_parsed_between_commas() -> None:
    assert options.parse_numbers("--weights", "0.75,1,2e1") == (0.75, 1, 20)
    assert options.parse_numbers("--weights", "3") == (3,)


@pytest.mark.parametrize("text", ["", ",", "1,", "1;2", "one,2", "1,0", "-1,2", "1,nan", "1,inf"])
def test_numbers_that_are_not_above_0_are_refused(text: str) -> None:
    message = f"--weights {text}: must be numbers above 0 with commas between them, as 0.75,1,1.25"
    with pytest.raises(InputError, match=f"^{message}$"):
        options.parse_numbers("--weights", text)


def test_a_number_that_no_record_could_hold_is_refused_in_a_list() -> None:
    with pytest.raises(InputError, match="^--weights 1,1e13: must not be above 1,000,000,000,000$"):
        options.parse_numbers("--weights", "1,1e13")


def test_whole_numbers_of_thousands_of_digits_are_refused() -> None:
    digits = "9" * 5000  # Python reads no more than 4300
    with pytest.raises(InputError, match="^--batch-size 9.*9: must be a whole number above 0, or auto$"):
        options.parse_count("--batch-size", digits)
    with pytest.raises(InputError, match="^--image-size 32x9.*9: must be HEIGHTxWIDTH in pixels, as 256x384$"):
        options.parse_size("--image-size", f"32x{digits}")


@pytest.mark.parametrize("text", ["inf", "1e999"])  # NaN is refused by its lowest number
@pytest.mark.parametrize(("command", "option"), [(infer, "--max-hours"), (submit, "--timeout")])
def test_a_number_that_is_not_finite_is_refused_for_options_of_commands(
    command: Callable[..., None], option: str, text: str
) -> None:
    refused = CliRunner().invoke(cli.app_of(command), ["folder", option, text]).exception
    assert isinstance(refused, InputError)
    assert str(refused) == f"{option} inf: must be a finite number"


@pytest.mark.parametrize(
    ("name", "right", "wrong"),
    [
        ("count", [0, 3], [True, 1.0, "3", None]),
        ("kind", ["a", "b"], [1, None, ("a",)]),
        ("size", [(3, 4), None], [(3,), (3, 4, 5), [3, 4], (3.0, 4), 3]),
        ("fast", [True, False], [0, 1, None]),
        ("factors", [(), (1.0,), (1, 2.5, 3)], [(1.0, "2"), [1.0], 1.0, (True,), None]),
        ("word", ["", "any", None], [3, ("any",)]),
    ],
)
def test_a_value_of_another_type_than_that_of_the_option_is_refused(
    name: str, right: list[object], wrong: list[object]
) -> None:
    (option,) = (option for option in OPTIONS if option.name == name)
    for value in right:
        option.check(value)
    for value in wrong:
        with pytest.raises(TypeError, match=f"{name} is "):
            option.check(value)


@pytest.mark.parametrize(
    ("check", "possible", "impossible"),
    [
        (options.ABOVE_0, [1e-9, 1], [0, -1e-9]),
        (options.AT_LEAST_0, [0, 1e-9], [-1e-9, -1]),
        (options.SHARE, [0, 0.5, 0.999], [-1e-9, 1, 2]),
        (options.between(2, 4), [2, 4], [1, 5]),
    ],
)
def test_the_ends_of_what_is_required_of_a_number(
    check: options.Check, possible: list[float], impossible: list[float]
) -> None:
    assert all(check.holds(value) for value in possible)
    assert not any(check.holds(value) for value in impossible)


@pytest.mark.parametrize(
    ("text", "seconds"), [("45m", 2700), ("2h", 7200), ("1h30m", 5400), ("90s", 90), ("1H0m5S", 3605), ("100m", 6000)]
)
def test_a_duration_is_read_in_seconds(text: str, seconds: float) -> None:
    assert options.parse_duration("--budget", text) == seconds


@pytest.mark.parametrize("text", ["", "45", "0m", "1.5h", "-2h", "m", "2h 5m", "123456h", "30m1h"])
def test_a_duration_of_another_form_is_refused(text: str) -> None:
    with pytest.raises(InputError, match=f"^--budget {text}: must be hours, minutes or seconds, as 45m, 2h or 1h30m$"):
        options.parse_duration("--budget", text)

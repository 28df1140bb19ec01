"""A configuration as `config.json` holds it, also as earlier versions wrote it."""

from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any

from kaggle_tools.config.training import TrainingConfig
from kaggle_tools.config.values import IMAGENET, channels_as_text, early_sizes_as_text, path_text
from kaggle_tools.errors import InputError
from kaggle_tools.options import as_text, size_as_text

PATHS = ("init", "extra")
"""The settings that are paths of folders."""


def config_of_settings(settings: Mapping[str, Any]) -> TrainingConfig:
    """The configuration that a `config.json` holds as its `settings`.

    Paths that an older version recorded as they were typed are taken as if they were typed here.

    Raises:
        InputError: a setting is not known, or not possible.
    """
    known = {field.name for field in fields(TrainingConfig)}
    unknown = sorted(settings.keys() - known)
    if unknown:
        raise InputError(f"settings that this version does not know: {', '.join(unknown)}")
    try:
        return TrainingConfig(**tuples(as_recorded_now(settings)))
    except TypeError as error:
        raise InputError(f"settings that are not possible: {error}") from error


def as_recorded_now(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings in the form that this version records.

    Paths from the root on, pretrained weights by their name, and the defaults of settings that there were not.
    """
    typed = {name: path for name in PATHS if isinstance(path := settings.get(name), str)}
    now = {**settings, **{name: path_text(name, path) for name, path in typed.items()}}
    if isinstance(settings.get("pretrained"), bool):
        now["pretrained"] = IMAGENET if settings["pretrained"] else None
    return {
        "early_sizes": [],
        "fit": "stretch",
        "unshuffle": 1,
        "decoder_channels": [],
        "crop": None,
        "frozen_levels": 0,
        **now,
    }


def settings_of(config: TrainingConfig) -> dict[str, Any]:
    """The configuration as JSON knows it; the classes only where there are several, as there were none at first."""
    settings = {name: _with_lists(value) for name, value in asdict(config).items()}
    if config.classes == 1:
        del settings["classes"]
    return settings


def setting_as_text(name: str, value: object) -> str:
    """A setting of `config.json` as people read it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if name == "early_sizes" and isinstance(value, list):
        return early_sizes_as_text(value)
    if name == "decoder_channels" and isinstance(value, list):
        return channels_as_text(value)
    if isinstance(value, list):
        return size_as_text(value) if name == "image_size" else as_text(tuple(value))
    return "none" if value is None else str(value)


def tuples(recorded: Mapping[str, Any]) -> dict[str, Any]:
    """Fields that were read from JSON, which knows only lists."""
    return {name: _with_tuples(value) for name, value in recorded.items()}


def _with_lists(value: Any) -> Any:
    return [*map(_with_lists, value)] if isinstance(value, tuple) else value


def _with_tuples(value: Any) -> Any:
    return tuple(map(_with_tuples, value)) if isinstance(value, list) else value

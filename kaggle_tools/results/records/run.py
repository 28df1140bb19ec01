"""What `config.json` and `timing.json` record of a run."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Self

from kaggle_tools.config.values import LONGEST_SIDE, UNET
from kaggle_tools.data.images import Size
from kaggle_tools.system.json_values import (
    Fields,
    between,
    by_name,
    each,
    floating,
    nullable,
    pair,
    plain,
    text,
    whole,
)

COUNT = between(whole, 1)
"""How many of something that there is."""
FOLDS = between(whole, 1, 10_000)
SIZE = pair(between(whole, 1, LONGEST_SIDE))
"""(height, width) in pixels."""


@dataclass(frozen=True)
class RunConfig:
    """The contents of `config.json`: everything needed to repeat a run."""

    settings: Mapping[str, Any]
    """JSON values by the names of `TrainingConfig`'s fields; an older version recorded fewer."""
    data: str = ""
    """The folder with the competition's data, from the root on; older versions recorded it as it was typed."""
    command: str = ""
    """With which the run was begun."""
    commit: str | None = None
    """The version of this code."""
    versions: Mapping[str, str | None] = field(default_factory=dict)
    """Of Python and of the libraries by name; None where one was not installed."""
    machine: str = ""
    """The operating system."""
    asked: Mapping[str, int] = field(default_factory=dict)
    """Settings that were asked for, where the memory of a GPU led to others."""
    pretrained_sha256: str | None = None
    """Of the file of weights from which the encoder started, if it did."""

    budget: float | None = None
    """Seconds within which the run was to be done, if that led to its sizes and epochs."""
    begun: str = ""
    """When: ISO 8601, UTC; older versions did not record it."""

    @property
    def competition(self) -> str | None:
        """The slug of the competition; None where the settings do not name it."""
        slug = self.settings.get("competition")
        return slug if isinstance(slug, str) else None

    @property
    def batch_size(self) -> int | None:
        """Photos in each batch of the training; None where the settings hold no such number."""
        size = self.settings.get("batch_size")
        return size if type(size) is int and size > 0 else None

    def to_json(self) -> dict[str, Any]:
        """The contents of `config.json`."""
        return {
            "settings": dict(self.settings),
            "data": self.data,
            "command": self.command,
            "commit": self.commit,
            "versions": dict(self.versions),
            "machine": self.machine,
            **({"asked": dict(self.asked)} if self.asked else {}),
            **({"budget": self.budget} if self.budget else {}),
            **({"pretrained_sha256": self.pretrained_sha256} if self.pretrained_sha256 else {}),
            **({"begun": self.begun} if self.begun else {}),
        }

    @classmethod
    def from_json(cls, recorded: Mapping[str, Any]) -> Self:
        """The inverse of `to_json`; all but the settings may be missing.

        Raises:
            MalformedError: it is not of this form.
        """
        fields = Fields(recorded)
        return cls(
            settings=fields.required("settings", by_name(plain)),
            data=fields.optional("data", text, ""),
            command=fields.optional("command", text, ""),
            commit=fields.optional("commit", text, None),
            versions=fields.optional("versions", by_name(nullable(text)), {}),
            machine=fields.optional("machine", text, ""),
            asked=fields.optional("asked", by_name(whole), {}),
            budget=fields.optional("budget", floating, None),
            pretrained_sha256=fields.optional("pretrained_sha256", text, None),
            begun=fields.optional("begun", text, ""),
        )


@dataclass(frozen=True)
class Settings:
    """Those of a run's settings by which it is shown."""

    competition: str
    """The slug of the competition."""
    model: str
    """`unet`, or `smp:ARCHITECTURE/ENCODER`."""
    width: int
    """Channels of the U-Net's first block."""
    image_size: Size | None
    """To which photos are brought for the network; None: their own size."""
    folds: int
    """Into how many parts the groups are split."""
    epochs: int
    """Passes over the training photos, at most."""
    tta: str
    """The flips over which out-of-fold photos are averaged."""
    early_sizes: tuple[tuple[int, ...], ...] = ()
    """(height, width, epochs) of the first epochs, where these had smaller sizes."""
    unshuffle: int = 1
    """Side of the squares of pixels that are one pixel inside of the U-Net."""

    @property
    def model_name(self) -> str:
        """`unet, width 16`, `unet, width 16, unshuffle 2` or `smp:Unet/resnet34`."""
        if self.model != UNET:
            return self.model
        return f"unet, width {self.width}" + (f", unshuffle {self.unshuffle}" if self.unshuffle > 1 else "")

    @classmethod
    def from_json(cls, recorded: Mapping[str, Any]) -> Self:
        """From the settings that `config.json` holds.

        Raises:
            MalformedError: one is missing, or is not as it must be.
        """
        fields = Fields(recorded)
        return cls(
            competition=fields.required("competition", text),
            model=fields.required("model", text),
            width=fields.required("width", COUNT),
            image_size=fields.required("image_size", nullable(SIZE)),
            folds=fields.required("folds", FOLDS),
            epochs=fields.required("epochs", COUNT),
            tta=fields.required("tta", text),
            early_sizes=fields.optional("early_sizes", each(each(COUNT)), ()),
            unshuffle=fields.optional("unshuffle", COUNT, 1),
        )


@dataclass(frozen=True)
class Timing:
    """The contents of `timing.json`: how long the training of a fold took, and on what."""

    training_seconds: float
    """Without interruptions."""
    epochs: int
    devices: int
    """How many worked together."""
    precision: str
    hardware: str
    """In words."""

    def to_json(self) -> dict[str, Any]:
        """The contents of `timing.json`."""
        return {one.name: getattr(self, one.name) for one in fields(self)}

    @classmethod
    def from_json(cls, recorded: Mapping[str, Any]) -> Self:
        """The inverse of `to_json`.

        Raises:
            MalformedError: it is not of this form.
        """
        fields = Fields(recorded)
        return cls(
            training_seconds=fields.required("training_seconds", floating),
            epochs=fields.required("epochs", whole),
            devices=fields.required("devices", COUNT),
            precision=fields.required("precision", text),
            hardware=fields.required("hardware", text),
        )

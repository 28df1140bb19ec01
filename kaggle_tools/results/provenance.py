"""How results came about: what `config.json` and `timing.json` record of a run, and `run.json` of a folder of masks.

Plain values with their JSON, which has the same keys in the same order in all versions; what older versions did not
record is None or empty. Knows nothing of folders.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Self

from kaggle_tools.config import UNET
from kaggle_tools.data.images import Size
from kaggle_tools.results.scores import ExpectedScore, ValidatedRun
from kaggle_tools.system.json_values import floating, mapping, optional, text, whole

RECORD_FILE = "run.json"
"""The name of a `Record`'s file."""


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

    @property
    def competition(self) -> str | None:
        """The slug of the competition; None where the settings do not name it."""
        slug = self.settings.get("competition")
        return slug if isinstance(slug, str) else None

    @property
    def batch_size(self) -> int | None:
        """Photos in each batch of the training; None where the settings hold no such number."""
        size = self.settings.get("batch_size")
        return size if isinstance(size, int) else None

    def to_json(self) -> dict[str, Any]:
        """The contents of `config.json`."""
        return {
            "settings": dict(self.settings),
            "data": self.data,
            "command": self.command,
            "commit": self.commit,
            "versions": dict(self.versions),
            "machine": self.machine,
        }

    @classmethod
    def from_json(cls, recorded: Mapping[str, Any]) -> Self:
        """The inverse of `to_json`; all but the settings may be missing.

        Raises:
            KeyError, TypeError: it is not of this form.
        """
        return cls(
            settings=mapping(recorded["settings"]),
            data=text(recorded.get("data") or ""),
            command=text(recorded.get("command") or ""),
            commit=optional(text, recorded.get("commit")),
            versions={name: optional(text, one) for name, one in mapping(recorded.get("versions") or {}).items()},
            machine=text(recorded.get("machine") or ""),
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

    @property
    def model_name(self) -> str:
        """`unet, width 16` or `smp:Unet/resnet34`."""
        return f"unet, width {self.width}" if self.model == UNET else self.model

    @classmethod
    def from_json(cls, recorded: Mapping[str, Any]) -> Self:
        """From the settings that `config.json` holds.

        Raises:
            KeyError, TypeError, ValueError: one is missing, or is not of its type.
        """
        return cls(
            competition=text(recorded["competition"]),
            model=text(recorded["model"]),
            width=whole(recorded["width"]),
            image_size=optional(_size, recorded["image_size"]),
            folds=whole(recorded["folds"]),
            epochs=whole(recorded["epochs"]),
            tta=text(recorded["tta"]),
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
            KeyError, TypeError: it is not of this form.
        """
        return cls(
            training_seconds=floating(recorded["training_seconds"]),
            epochs=whole(recorded["epochs"]),
            devices=whole(recorded["devices"]),
            precision=text(recorded["precision"]),
            hardware=text(recorded["hardware"]),
        )


@dataclass(frozen=True)
class Network:
    """One of the networks that made masks: enough to know whether another one is the same."""

    run: str
    """The name of the run's folder."""
    fold: int
    model: str
    """`unet`, or `smp:ARCHITECTURE/ENCODER`."""
    image_size: Size | None
    """To which photos are brought for it; None: their own size."""
    weight: float | None
    """How much its probabilities count beside those of the others."""
    sha256: str
    """Of its file of weights."""

    def to_json(self) -> dict[str, Any]:
        """As `run.json` holds it."""
        values = {one.name: getattr(self, one.name) for one in fields(self)} | {"image_size": _list(self.image_size)}
        return {name: value for name, value in values.items() if name != "weight" or value is not None}

    @classmethod
    def from_json(cls, recorded: Mapping[str, Any]) -> Self:
        """The inverse of `to_json`; the weight may be missing.

        Raises:
            KeyError, TypeError, ValueError: it is not of this form.
        """
        return cls(
            run=text(recorded["run"]),
            fold=whole(recorded["fold"]),
            model=text(recorded["model"]),
            image_size=optional(_size, recorded["image_size"]),
            weight=optional(floating, recorded.get("weight")),
            sha256=text(recorded["sha256"]),
        )


@dataclass(frozen=True, kw_only=True)
class Origin:
    """What made masks: networks with their TTA, or a blend of other folders' probabilities."""

    models: tuple[Network, ...] = ()
    blend: tuple["Blended", ...] = ()
    tta: str | None = None
    """The flips over which each network was averaged."""
    tta_scales: tuple[float, ...] = ()
    """The factors of its image size over which it was averaged."""

    @property
    def runs(self) -> list[str]:
        """The names of the runs whose networks made the masks, through blends as well, each once."""
        named = [model.run for model in self.models] + [run for part in self.blend for run in part.runs]
        return list(dict.fromkeys(named))

    def _origin(self) -> dict[str, Any]:
        """As `run.json` holds it, without what is empty."""
        parts = {
            "models": [model.to_json() for model in self.models],
            "blend": [part.to_json() for part in self.blend],
            "tta": self.tta,
            "tta_scales": list(self.tta_scales),
        }
        return {name: value for name, value in parts.items() if value}


@dataclass(frozen=True, kw_only=True)
class Blended(Origin):
    """A folder of masks whose probabilities went into a blend."""

    pred: str
    """Its name."""
    weight: float
    """How much its probabilities count beside those of the others."""

    def to_json(self) -> dict[str, Any]:
        """As `run.json` holds it."""
        return {"pred": self.pred, "weight": self.weight, **self._origin()}

    @classmethod
    def from_json(cls, recorded: Mapping[str, Any]) -> Self:
        """The inverse of `to_json`.

        Raises:
            KeyError, TypeError, ValueError: it is not of this form.
        """
        return cls(pred=text(recorded["pred"]), weight=floating(recorded["weight"]), **_origin_of(recorded))


@dataclass(frozen=True, kw_only=True)
class Record(Origin):
    """The contents of `run.json`: what made the masks in a folder, and what is known of them."""

    competition: str
    """The slug of the competition."""
    photos: str | None = None
    """The folder of the photos."""
    threshold: float | None = None
    """Foreground has at least this probability."""
    batch_size: int | None = None
    """Photos that went through the networks at once: the bits of a mask may depend on it."""
    cross_validation: tuple[ValidatedRun, ...] = ()
    """Of the runs."""
    expected: ExpectedScore | None = None
    """The score that the masks are expected to get; None where nothing is recorded of it."""
    count: int | None = None
    """How many masks there are; None before all are made."""
    sizes: Mapping[str, int] | None = None
    """How many of them have which size, such as `1280x1918`; None before all are made."""

    def settings(self) -> dict[str, Any]:
        """The part of `to_json` that must be the same when a folder is continued."""
        parts = {
            "competition": self.competition,
            "photos": self.photos,
            **self._origin(),
            "threshold": self.threshold,
            "batch_size": self.batch_size,
        }
        return {name: value for name, value in parts.items() if value is not None}

    def to_json(self) -> dict[str, Any]:
        """The contents of `run.json`."""
        scores: dict[str, Any] = {}
        if self.expected is not None:
            validated = [run.to_json() for run in self.cross_validation]
            scores = {"cross_validation": validated, "estimate": self.expected.to_json()}
        sizes = {} if self.sizes is None else {"sizes": dict(self.sizes)}
        return {**self.settings(), **scores, "count": self.count, **sizes}

    @classmethod
    def from_json(cls, recorded: Mapping[str, Any]) -> Self:
        """The inverse of `to_json`; all but the competition may be missing.

        Raises:
            KeyError, TypeError, ValueError: it is not of this form.
        """
        return cls(
            competition=text(recorded["competition"]),
            photos=optional(text, recorded.get("photos")),
            threshold=optional(floating, recorded.get("threshold")),
            batch_size=optional(whole, recorded.get("batch_size")),
            cross_validation=tuple(ValidatedRun.from_json(run) for run in recorded.get("cross_validation", [])),
            expected=ExpectedScore.from_json(recorded["estimate"]) if "estimate" in recorded else None,
            count=optional(whole, recorded.get("count")),
            sizes=optional(_counts, recorded.get("sizes")),
            **_origin_of(recorded),
        )


def _origin_of(recorded: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "models": tuple(Network.from_json(model) for model in recorded.get("models", [])),
        "blend": tuple(Blended.from_json(part) for part in recorded.get("blend", [])),
        "tta": optional(text, recorded.get("tta")),
        "tta_scales": tuple(floating(scale) for scale in recorded.get("tta_scales", [])),
    }


def _size(recorded: Any) -> Size:
    height, width = recorded
    return whole(height), whole(width)


def _counts(recorded: Any) -> dict[str, int]:
    return {size: whole(count) for size, count in mapping(recorded).items()}


def _list(size: Size | None) -> list[int] | None:
    return None if size is None else list(size)

"""What `run.json` records of a folder of masks, and `photos.csv` of each of them."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Self

from kaggle_tools.data.images import Size
from kaggle_tools.results.records.run import COUNT, SIZE
from kaggle_tools.results.scores import ExpectedScore, ValidatedRun
from kaggle_tools.system.json_values import (
    Fields,
    between,
    by_name,
    each,
    floating,
    nullable,
    text,
    whole,
)

RECORD_FILE = "run.json"
"""The name of a `Record`'s file."""


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
            MalformedError: it is not of this form.
        """
        fields = Fields(recorded)
        return cls(
            run=fields.required("run", text),
            fold=fields.required("fold", whole),
            model=fields.required("model", text),
            image_size=fields.required("image_size", nullable(SIZE)),
            weight=fields.optional("weight", floating, None),
            sha256=fields.required("sha256", text),
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
            MalformedError: it is not of this form.
        """
        fields = Fields(recorded)
        pred, weight = fields.required("pred", text), fields.required("weight", floating)
        return cls(pred=pred, weight=weight, **_origin_of(fields))


@dataclass(frozen=True)
class ClassRecord:
    """How masks of a class were made, as `Record` says it of all masks."""

    threshold: float
    smallest_part: int
    """0 where none were removed; so is `smallest_hole`."""
    smallest_hole: int

    @classmethod
    def from_json(cls, recorded: Mapping[str, Any]) -> Self:
        """The inverse of `dataclasses.asdict`.

        Raises:
            MalformedError: it is not of this form.
        """
        fields = Fields(recorded)
        return cls(
            threshold=fields.required("threshold", between(floating, 0, 1)),
            smallest_part=fields.required("smallest_part", whole),
            smallest_hole=fields.required("smallest_hole", whole),
        )


@dataclass(frozen=True, kw_only=True)
class Record(Origin):
    """The contents of `run.json`: what made the masks in a folder, and what is known of them."""

    competition: str
    """The slug of the competition."""
    photos: str | None = None
    """The folder of the photos."""
    threshold: float | None = None
    """Foreground has at least this probability."""
    smallest_part: int | None = None
    """Connected parts of a mask with fewer pixels were removed, if they were."""
    smallest_hole: int | None = None
    """Holes in it with fewer pixels were filled, if they were."""
    classes: Mapping[str, "ClassRecord"] = field(default_factory=dict)
    """How masks of each class were made, where each was made in its own way."""
    batch_size: int | None = None
    """Photos that went through the networks at once: the bits of a mask may depend on it."""
    precision: str | None = None
    """The arithmetic of the networks: pixels at the threshold may depend on it. Older versions did not record it."""
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
            "smallest_part": self.smallest_part,
            "smallest_hole": self.smallest_hole,
            "classes": {name: asdict(one) for name, one in self.classes.items()} or None,
            "batch_size": self.batch_size,
            "precision": self.precision,
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
            MalformedError: it is not of this form.
        """
        fields = Fields(recorded)
        return cls(
            competition=fields.required("competition", text),
            photos=fields.optional("photos", text, None),
            threshold=fields.optional("threshold", between(floating, 0, 1), None),
            smallest_part=fields.optional("smallest_part", COUNT, None),
            smallest_hole=fields.optional("smallest_hole", COUNT, None),
            classes=fields.optional("classes", by_name(ClassRecord.from_json), {}),
            batch_size=fields.optional("batch_size", COUNT, None),
            precision=fields.optional("precision", text, None),
            cross_validation=fields.optional("cross_validation", each(ValidatedRun.from_json), ()),
            expected=fields.optional("estimate", ExpectedScore.from_json, None),
            count=fields.optional("count", whole, None),
            sizes=fields.optional("sizes", by_name(whole), None),
            **_origin_of(fields),
        )


def _origin_of(fields: Fields) -> dict[str, Any]:
    return {
        "models": fields.optional("models", each(Network.from_json), ()),
        "blend": fields.optional("blend", each(Blended.from_json), ()),
        "tta": fields.optional("tta", text, None),
        "tta_scales": fields.optional("tta_scales", each(floating), ()),
    }


def _list(size: Size | None) -> list[int] | None:
    return None if size is None else list(size)


@dataclass(frozen=True, kw_only=True)
class MaskNotes:
    """What is known of a mask without the truth; its file holds it, until someone edits the mask: then all is None."""

    area: float | None = None
    """The share of the photo that the mask covers."""
    expected_dice: float | None = None
    """The Dice to be expected if the probabilities are right."""
    border_width: float | None = None
    """Doubtful pixels for each pixel of the outline."""
    agreement: float | None = None
    """The Dice of the networks' own masks, pixels taken together, with the mask of their mean; None of one network."""
    expected_score: float | None = None
    """The competition's score to be expected if the probabilities are right; older versions recorded the Dice alone."""
    expected_truth: float | None = None
    """The share of the photo that is foreground if the probabilities are right, where the score is over all pixels."""

    @property
    def doubt(self) -> float:
        """From 0, none, to 1: how far the mask is expected to be from the best score."""
        known = [value for value in (self.expected_score, self.expected_dice) if value is not None]
        return 1 - known[0] if known else 1.0

    def recorded(self) -> dict[str, float]:
        """As the mask's file holds them: without what is not known."""
        named = {name: getattr(self, name) for name in NOTES}
        return {name: value for name, value in named.items() if value is not None}


@dataclass(frozen=True, kw_only=True)
class MaskedPhoto(MaskNotes):
    """A row of `photos.csv`."""

    image: str
    """The stem of the photo."""
    file: Path
    """The photo."""


NOTES = [one.name for one in fields(MaskNotes)]
PHOTO_COLUMNS = ["image", "file", *NOTES]

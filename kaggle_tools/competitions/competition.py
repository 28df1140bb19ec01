"""What sets one competition apart from another, as one frozen value.

Everything else in the package asks this value instead of knowing names, patterns or sizes. It comes from a file, see
`toml_file`; if a competition takes a line of Python, the seam is wrong.
"""

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import PurePosixPath

from kaggle_tools import metrics
from kaggle_tools.rle import Order


@dataclass(frozen=True)
class Archive:
    """One file of the competition's Data page."""

    name: str
    """Its name at Kaggle, such as `train.zip`."""
    into: str = "."
    """The folder, below the data folder, in which its contents belong."""
    on_request: bool = False
    """Large and not needed: downloaded only when asked for."""
    holds: tuple[str, ...] = ()
    """Patterns, relative to the data folder, of the files that belong in it; nothing else is unpacked."""

    @property
    def expected(self) -> tuple[str, ...]:
        """`holds`; where it says nothing, the table, or all files in the folder, of the archive's own name."""
        name = self.name.removesuffix(".zip")
        own = name if PurePosixPath(name).suffix else f"{name}/*"
        return self.holds or (str(PurePosixPath(self.into, own)),)

    def place(self, name: str) -> str | None:
        """Where in the data folder a file belongs that is called so in the archive; None where it has no business.

        The ends of paths count: whoever packs folders adds one on top, as in `train/train/a.jpg`, or leaves one out.
        """
        path = PurePosixPath(self.into if self.into != "." else self.name.split(".")[0], name)
        for pattern in self.expected:
            if path.match(pattern) and not path.name.startswith("."):
                return str(PurePosixPath(*path.parts[-len(PurePosixPath(pattern).parts) :]))
        return None


@dataclass(frozen=True)
class TrainTable:
    """What a table of training masks calls otherwise than the CSV does; None: as there."""

    id_pattern: str | None = None
    id_column: str | None = None
    class_column: str | None = None
    rle_column: str | None = None


@dataclass(frozen=True)
class Competition:
    """One competition for masks: its files, names, run lengths and score.

    A photo is known by its *stem*, its file name without the extension. Patterns hold `{stem}`
    exactly once, and are relative to the data folder.

    A mask is known by its *name*: the stem of its photo and, where there are several classes, `_` and its class. Each
    class has a mask of its own, so that masks may overlap (multi-label); behind the network each is treated as the only
    mask of a photo would be.
    """

    slug: str
    """The last part of the competition's address at Kaggle."""
    title: str
    """For people to read."""

    archives: tuple[Archive, ...]
    """What there is to download."""
    train_photos: str
    """Pattern of the training photos."""
    train_masks: str
    """Pattern of their masks, with `{class}` where there are several. What is foreground in them: see
    `data.checks.foreground`. Without `{stem}`: the table that holds them as run lengths, in columns that are called as
    those of the CSV, but for what `train_table` says."""
    test_photos: str
    """Pattern of the photos to be masked."""
    sample_submission: str
    """The CSV that lists every id to be submitted, in order."""

    stem_format: str
    """How `{group}` and `{view}` make a stem. Photos of one group (one car) look alike and must
    never be in two folds; a view (an angle) is a position within the group. Without groups:
    `{view}`, and each photo is a group of its own."""

    id_pattern: str
    """The id of a mask in a CSV: `{stem}` and what surrounds it, with `{class}` unless that has a column of its own."""
    id_column: str
    """Header of the CSV's first column."""
    rle_column: str
    """Header of the column with the run lengths."""
    rle_order: Order
    """The order in which the pixels are numbered."""
    rle_first: int
    """The number of the first pixel."""

    score_name: str
    """The competition's own score, as reports call it."""
    score: metrics.Score
    """The score of each photo from its pixel counts; how they become that of a set of photos, `results.scores` says."""

    classes: tuple[str, ...] = ()
    """The classes, as ids name them, of which each has a mask; empty where there is but one kind of mask."""
    class_column: str | None = None
    """Header of a column for the class, after that for the id, where the CSV has one."""
    train_table: TrainTable | None = None
    """How a table of training masks names masks and columns, where otherwise than the CSV."""
    group_name: str = "group"
    """What people call a group; their plural is this with an s."""
    view_name: str = "view"
    """What people call a view."""
    metadata: str | None = None
    """A table about the groups, where the competition has one; nothing needs it."""
    blank_mask: str = ""
    """What the CSV holds for a photo without any foreground."""
    blank_allowed: bool = True
    """Whether such a photo may occur at all."""
    blank_share: float = 0.0
    """About what share of the masks is blank."""
    coverage_strata: tuple[float, ...] = ()
    """Inner boundaries, as shares of the photo's pixels that are foreground, of the strata that
    every fold shall hold alike; empty where folds need none."""
    photo_size: tuple[int, int] | None = None
    """(height, width) in pixels where all photos are alike. Used only to check a CSV that has
    neither photos nor masks beside it."""
    mask_size: tuple[int, int] | None = None
    """(height, width) in pixels of all masks in a CSV, where it is not that of their photos."""
    notebooks_only: bool = False
    """Whether the competition takes the outputs of notebooks at Kaggle alone, and no files."""
    demo: str = "cars"
    """What its drawn demo shows, by name: one of `demo.subjects.SUBJECTS`."""

    @property
    def masks_are_run_lengths(self) -> bool:
        """Whether the training masks are in a table and not in files of their own."""
        return "{stem}" not in self.train_masks

    @property
    def blank_usual(self) -> bool:
        """Whether many a photo has no foreground."""
        return self.blank_share > 0

    @property
    def has_groups(self) -> bool:
        """Whether several photos may show the same; else each is a group of its own."""
        return "{group}" in self.stem_format

    @property
    def scored_by_dice(self) -> bool:
        """Whether the score of a photo is its Dice, so that what is known of the one holds for the other."""
        return self.score in (metrics.dice, metrics.Pooled(metrics.dice))

    @property
    def pools_pixels(self) -> bool:
        """Whether the score is one over the pixels of all photos, and no mean over photos."""
        return isinstance(self.score, metrics.Pooled)

    @property
    def photo_score_name(self) -> str:
        """What the score of a single photo is called: of a global Dice, each photo has a Dice."""
        return self.score_name.removeprefix("global ") if self.pools_pixels else self.score_name

    @property
    def score_of_several(self) -> str:
        """What the score of several photos is of theirs: their mean, or that of their pixels added up."""
        return "global" if self.pools_pixels else "mean"

    @property
    def further_scores(self) -> dict[str, str]:
        """The scores that are recorded beside the competition's own: their columns in `oof.csv` by their names."""
        common = {"Dice": metrics.dice, "IoU": metrics.iou}
        return {name: name.lower() for name, score in common.items() if self.score is not score}

    @property
    def unit(self) -> str:
        """What tables have a row for, and pages a picture: each photo, or where there are classes each of its masks."""
        return "mask" if self.classes else "photo"

    @property
    def masks_per_photo(self) -> int:
        """One for each class."""
        return max(1, len(self.classes))

    @property
    def columns(self) -> tuple[str, ...]:
        """The headers of the CSV. Where one is for the class, they may be in another order."""
        of_class = (self.class_column,) if self.class_column else ()
        return (self.id_column, *of_class, self.rle_column)

    def names_of(self, stem: str) -> tuple[str, ...]:
        """The names of a photo's masks, in the order of the classes."""
        return tuple(f"{stem}_{one}" for one in self.classes) or (stem,)

    def by_class(self, pattern: str) -> dict[str, str]:
        """A pattern of mask files for each class, by what stands behind the stem in the masks' names."""
        return {f"_{one}": pattern.replace("{class}", one) for one in self.classes} or {"": pattern}

    def stem_and_class(self, name: str) -> tuple[str, str]:
        """The stem of the photo that a mask is of, and its class; that is empty where there is but one kind of mask.

        Raises:
            ValueError: the name ends with no class of this competition.
        """
        if not self.classes:
            return name, ""
        for one in self.classes:
            if name.endswith(f"_{one}"):
                return name.removesuffix(f"_{one}"), one
        raise ValueError(f"{name!r} does not end with _ and one of the classes {', '.join(self.classes)}")

    def stem_of(self, name: str) -> str:
        """The stem of the photo that a mask is of; raises a ValueError as `stem_and_class` does."""
        return self.stem_and_class(name)[0]

    def group_and_view(self, stem: str) -> tuple[str, str]:
        """The group and the view of a photo; the view is empty where the stem names none.

        Raises:
            ValueError: the stem is not of this competition's form.
        """
        found = re.fullmatch(_as_regex(self.stem_format), stem)
        if found is None:
            raise ValueError(f"{stem!r} is not of the form {self.stem_format}, as in {self.title}")
        named = found.groupdict()
        return named.get("group", stem), named.get("view", "")

    def stem(self, group: str, view: str) -> str:
        """The stem of a group's photo, the inverse of `group_and_view`."""
        return self.stem_format.format(group=group, view=view)

    def id_of(self, name: str) -> str:
        """What the CSV calls the mask; where a column of its own holds the class, the texts of both with a comma."""
        return ",".join(self.id_fields(name))

    def id_fields(self, name: str) -> tuple[str, ...]:
        """What the columns before the run lengths hold of a mask."""
        stem, of_class = self.stem_and_class(name)
        own = self.id_pattern.format(stem=stem, **{"class": of_class})
        return (own, of_class) if self.class_column else (own,)

    @property
    def as_in_train_table(self) -> "Competition":
        """The same with ids and columns as the table of the training masks has them."""
        if self.train_table is None:
            return self
        named = {name: value for name, value in asdict(self.train_table).items() if value is not None}
        if "{class}" in named.get("id_pattern", ""):
            named = {"class_column": None, **named}
        return replace(self, train_table=None, **named)

    def name_of(self, mask_id: str) -> str:
        """The name of the mask that the CSV calls `mask_id`, the inverse of `id_of`.

        Raises:
            ValueError: the id is not of this competition's form.
        """
        found = re.fullmatch(_as_regex(self._whole_id, self.classes), mask_id)
        if found is None:
            classes = f", class: {', '.join(self.classes)}" if self.classes else ""
            raise ValueError(f"{mask_id!r} is not of the form {self._whole_id}{classes}, as in {self.title}")
        return "_".join(found.groupdict()[part] for part in ("stem", "class") if part in found.groupdict())

    @property
    def _whole_id(self) -> str:
        """The pattern of what the columns before the run lengths hold."""
        return f"{self.id_pattern},{{class}}" if self.class_column else self.id_pattern


def _as_regex(pattern: str, classes: Sequence[str] = ()) -> str:
    """`{stem}_mask.gif` as a regular expression with the groups that it names."""
    literal = re.escape(pattern).replace(r"\{class\}", f"(?P<class>{'|'.join(map(re.escape, classes))})")
    return re.sub(r"\\{(\w+)\\}", r"(?P<\1>[^/\\\\]+)", literal)

"""How tables name masks: the sample submission, and a table of training masks, which may do so in another way."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import permutations, product

from kaggle_tools.data.drafting.inventory import Csv, Images

SEPARATORS = "_-"
"""What stands between a photo's name and a class in an id."""
SOME_ROWS = 1000
"""So many rows of a table are looked at for how it names masks."""


@dataclass(frozen=True)
class Ids:
    """How the rows of a table name masks."""

    after: str
    """What follows the stem in an id, but for the class."""
    classes: tuple[str, ...] = ()
    """In the order in which the sample submission lists those of a photo; empty where there is one kind of mask."""
    separator: str = SEPARATORS[0]
    """What stands before the class, where that is in the id."""
    id_at: int = 0
    """Which column holds the id."""
    class_at: int | None = None
    """Which column holds the class, if one does."""
    rle_at: int = 1
    """Which column holds the run lengths."""

    @property
    def pattern(self) -> str:
        """The id of a mask, from `{stem}` and `{class}`."""
        in_id = f"{self.separator}{{class}}" if self.classes and self.class_at is None else ""
        return f"{{stem}}{self.after}{in_id}"

    def of(self, stem: str) -> list[str]:
        """The ids of a photo's masks, in the order of the classes; a class of a column follows behind a comma."""
        separator = self.separator if self.class_at is None else ","
        return [f"{stem}{self.after}{separator}{one}" for one in self.classes] or [f"{stem}{self.after}"]

    def of_row(self, row: Sequence[str]) -> str:
        """Which mask a row is about."""
        return row[self.id_at] if self.class_at is None else f"{row[self.id_at]},{row[self.class_at]}"

    def named_in(self, table: Csv, most: int | None = None) -> set[str]:
        """The masks that the rows of a table are about."""
        return {self.of_row(row) for row in table.whole_rows[:most]}


def ids_of_sample(sample: Csv, photos: Images) -> Ids | None:
    """How the sample submission names the masks of these photos; None where it does not name all of them."""
    for ids in _of_one_photo(sample, photos):
        listed = ids.named_in(sample)
        is_each_once = len(set(ids.classes)) == len(ids.classes)
        if is_each_once and all(listed.issuperset(ids.of(stem)) for stem in photos.by_name):
            return ids
    return None


def _of_one_photo(sample: Csv, photos: Images) -> Iterator[Ids]:
    """The ways of naming that the rows of one photo allow. What follows in a single row is no class."""
    for after in ("", photos.suffix):
        one = max(photos.by_name) + after  # with which no other photo's name begins
        rows = sample.whole_rows
        if len(sample.header) == 3:
            of_one = [row for row in rows if row[0] == one]
            for at in (1, 2):
                classes = tuple(row[at] for row in of_one)
                if all(classes) and not _are_run_lengths(classes):
                    yield Ids(after, classes, class_at=at, rle_at=3 - at)
            continue
        yield Ids(after)
        for separator in SEPARATORS:
            start = one + separator
            endings = tuple(row[0].removeprefix(start) for row in rows if row[0].startswith(start))
            yield Ids(after, endings, separator) if len(endings) != 1 else Ids(f"{after}{separator}{endings[0]}")


def ids_of_training(table: Csv, sample: Csv, photos: Images, ids: Ids) -> Ids | None:
    """How a table names masks of training photos: as the sample does, or otherwise; None where it names none.

    Where its columns are not called as those of the sample, one must hold nothing but run lengths, and most of its rows
    must be about these photos.
    """
    if table.header == sample.header:
        named_alike = ids.named_in(table)
        if any(named_alike.intersection(ids.of(stem)) for stem in photos.by_name):
            return ids
    for other in _other_ways(table, photos, ids):
        named = other.named_in(table, SOME_ROWS)
        known = named.intersection(mask_id for stem in photos.by_name for mask_id in other.of(stem))
        if 2 * len(known) > len(named):
            return other
    return None


def _other_ways(table: Csv, photos: Images, ids: Ids) -> Iterator[Ids]:
    """All ways of naming the same classes by the columns of a table."""
    some = table.whole_rows[:SOME_ROWS]
    rle_columns = [at for at in _columns(table) if _are_run_lengths([row[at] for row in some])]
    for rle_at, after in product(rle_columns, ("", photos.suffix)):
        others = [at for at in _columns(table) if at != rle_at]
        ways = replace(ids, after=after, class_at=None, rle_at=rle_at)
        separators = SEPARATORS if ids.classes else (ids.separator,)
        yield from (replace(ways, id_at=at, separator=one) for at, one in product(others, separators))
        if ids.classes:
            yield from (replace(ways, id_at=at, class_at=class_at) for at, class_at in permutations(others, 2))


def is_blank(text: str) -> bool:
    """Whether a table holds this for a mask without foreground, as far as is known."""
    return text.strip() in ("", "-1")


def _columns(table: Csv) -> range:
    return range(len(table.header))


def _are_run_lengths(texts: Sequence[str]) -> bool:
    """Whether all texts are blank or pairs of whole numbers, and some are no blanks."""
    numbers = [text.split() for text in texts if not is_blank(text)]
    return bool(numbers) and all(len(one) % 2 == 0 and all(map(str.isdecimal, one)) for one in numbers)

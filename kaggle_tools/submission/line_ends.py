"""Whether the pixels of a CSV seem to be numbered in another way than the competition's: the ends of lines tell.

A *line* is a row of pixels where the competition counts row by row, else a column. In the right order a run crosses the
end of a line only where the foreground touches both ends; an object that touches one begins or ends exactly there. In
the wrong order a run crosses by chance. Numbered one too low or too high, runs that touch an end cross it by one pixel.

Measured on real masks, the share of runs that cross, and of those the share that crosses by a single pixel:

| | right | in the wrong order | one too low | one too high |
|---|---|---|---|---|
| Carvana, 320 masks | 0, - | 0.21, 0.01 | 0, - | 0, - |
| Salt, 3,284 masks | 0.02, 0.02 | 0.06, 0.04 | 0.37, 0.98 | 0.53, 0.99 |

So a wrong number is seen where foreground touches the sides, as in Salt. A wrong order is seen where photos are not
square: there the same runs do not cross the ends of lines of the other length. It cannot be seen in Salt.
"""

from dataclasses import dataclass, replace
from typing import Self

from kaggle_tools import rle

FEWEST = 10
"""Runs that must cross; fewer may be chance."""
CROSSING = 0.05
"""Share of the runs that must cross before the order may be wrong."""
CLEAR = 4
"""How many times as many runs must cross in the competition's order as in the other one."""
SHIFTED = 10
"""How many times as many runs must begin one pixel before the end of a line as at it, or end so much behind it."""

ENOUGH = 1_000_000
"""Runs of some hundred large masks; of a hundred thousand masks, all would tell the same and take ten seconds."""

LOW = "are the pixels numbered one too low, as from 0 instead of 1?"
HIGH = "are the pixels numbered one too high, as from 1 instead of 0?"


@dataclass(frozen=True)
class LineEnds:
    """Counts of the runs that have been looked at."""

    order: rle.Order
    """In which the competition numbers the pixels."""
    runs: int = 0
    crossing: int = 0
    """Those that go on in the next line."""
    crossing_other: int = 0
    """Those that would do so if they were numbered in the other order."""
    begin_at: int = 0
    """Those that begin with the first pixel of a line."""
    begin_before: int = 0
    """Those that begin with the last pixel of a line, and go on in the next."""
    end_at: int = 0
    """Those that end with the last pixel of a line."""
    end_behind: int = 0
    """Those that end with the first pixel of a line, and began before it."""

    def with_mask(self, runs: rle.Runs, height: int, width: int) -> Self:
        """The counts, those of one more mask included, from its runs of shape (n, 2), their pixels counted from 0."""
        if self.runs >= ENOUGH:
            return self
        length, other = (width, height) if self.order == "row-major" else (height, width)
        starts, lengths = runs[:, 0], runs[:, 1]
        first = starts % length
        end = first + lengths
        crosses = end > length
        return replace(
            self,
            runs=self.runs + len(runs),
            crossing=self.crossing + int(crosses.sum()),
            crossing_other=self.crossing_other + int((starts % other + lengths > other).sum()),
            begin_at=self.begin_at + int((first == 0).sum()),
            begin_before=self.begin_before + int((crosses & (first == length - 1)).sum()),
            end_at=self.end_at + int((end % length == 0).sum()),
            end_behind=self.end_behind + int((crosses & (end % length == 1)).sum()),
        )

    def warnings(self) -> list[str]:
        """What the runs say against the competition's way of numbering, if anything."""
        if self.crossing < FEWEST:
            return []
        line = "row" if self.order == "row-major" else "column"
        if self.begin_before > max(FEWEST, SHIFTED * self.begin_at):
            return [self._shifted(self.begin_before, f"begin with the last pixel of a {line}", LOW)]
        if self.end_behind > max(FEWEST, SHIFTED * self.end_at):
            return [self._shifted(self.end_behind, f"end with the first pixel of a {line}", HIGH)]
        if self.crossing > CROSSING * self.runs and self.crossing > CLEAR * self.crossing_other:
            other = "column by column" if self.order == "row-major" else "row by row"
            return [
                f"{self.crossing:,} of {self.runs:,} runs cross the end of a {line}, in the other order only "
                f"{self.crossing_other:,}: are the pixels numbered {other}?"
            ]
        return []

    def _shifted(self, count: int, what: str, question: str) -> str:
        return f"{count:,} of the {self.crossing:,} runs that go on in the next line {what}: {question}"

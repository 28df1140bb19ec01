"""A score of one's own: a function in a Python file that lies beside the TOML file of the competition.

    score = "my_scores.py:boundary_score"

The file is run, so it is taken only from beside the file that the user names. A folder of ours records its name and its
SHA-256, and runs nothing: with these alone the score is not known, and whoever needs it must name the file again.
"""

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kaggle_tools.errors import InputError
from kaggle_tools.metrics import Overlap
from kaggle_tools.system.files import read_bytes

RECORD = "competition.json"
"""The file by which a folder of runs or masks records its competition."""
FORM = re.compile(r"(?P<file>\w[\w-]*\.py):(?P<function>[^\W\d]\w*)")
LARGEST = 2**20
"""Bytes of a file."""
ROUNDING = 1e-9
Function = Callable[[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]], Any]
"""From arrays (n,) of pixel counts (intersection, predicted, truth) to the score in [0, 1] of each mask, (n,)."""
TRIAL = Overlap(
    intersection=np.array([0.0, 0, 0, 3, 6, 1, 2.5, 9e8]),
    predicted=np.array([0.0, 5, 0, 5, 6, 100, 4.0, 1e9]),
    truth=np.array([0.0, 0, 7, 4, 6, 2, 3.5, 1e9]),
)
"""Blank masks, right and wrong ones; expected counts are no whole numbers."""


@dataclass(frozen=True)
class OwnScore:
    """A score that is a function of the user's."""

    text: str
    """As the TOML file names it: `my_scores.py:boundary_score`."""
    sha256: str
    """Of the Python file."""
    competition_file: Path | None = field(default=None, compare=False)
    """The TOML file as the user named it; None where a folder alone records the score, so that it cannot be used."""
    function: Function | None = field(default=None, compare=False, repr=False)
    """None likewise."""

    @property
    def name(self) -> str:
        """As reports call it."""
        return self.text.partition(":")[2]

    @property
    def why_unusable(self) -> str:
        """Why the score cannot be used, and what to do; empty where it can."""
        if self.function:
            return ""
        file = self.text.partition(":")[0]
        return (
            f"the score is {self.text}, a function of your own, and no code is taken from a folder of runs or masks; "
            f"give --competition FILE.toml, beside which {file} lies"
        )

    def __call__(self, counts: Overlap) -> NDArray[np.float64]:
        """The score of each mask.

        Raises:
            InputError: the function raises, or gives something else than a score in [0, 1] for each mask; or it is not
                known.
        """
        if self.function is None:
            raise InputError(self.why_unusable)
        arrays = np.broadcast_arrays(*(np.asarray(count, dtype=np.float64) for count in counts))
        flat = [np.array(array).ravel() for array in arrays]  # copies, which the function may change
        try:
            with np.errstate(all="ignore"):  # a division by 0 shows in what it gives
                found = np.asarray(self.function(*flat), dtype=np.float64)
        except (Exception, SystemExit) as error:
            raise InputError(f"{self._where}: raised {type(error).__name__}: {error}") from error
        return self._checked(found, [array.ravel() for array in arrays]).reshape(arrays[0].shape)

    def __reduce__(self) -> tuple[type, tuple[str, str]]:
        """For processes that encode masks, which need no score: no other process would find the function by a name."""
        return OwnScore, (self.text, self.sha256)

    @property
    def _where(self) -> str:
        folder = self.competition_file.parent if self.competition_file else Path()
        return str(folder / self.text)

    def _checked(self, found: NDArray[np.float64], counts: list[NDArray[np.float64]]) -> NDArray[np.float64]:
        if found.shape != counts[0].shape:
            raise InputError(f"{self._where}: gave shape {found.shape} for masks of shape {counts[0].shape}")
        wrong = ~((found >= -ROUNDING) & (found <= 1 + ROUNDING))  # also where it is NaN
        if wrong.any():
            at = int(np.flatnonzero(wrong)[0])
            named = ", ".join(f"{name} {each[at]:g}" for name, each in zip(Overlap._fields, counts, strict=True))
            raise InputError(f"{self._where}: gave {found[at]:g} for {named}; a score must be from 0 to 1")
        return found.clip(0, 1)


def read_own_score(text: str, competition_file: Path) -> OwnScore:
    """The function `FILE.py:NAME` from beside the TOML file that the user named. Runs the Python file.

    Raises:
        InputError: the file is missing, or in a folder of runs or masks; it cannot be run, or has no such function; or
            on a trial the function raises, or gives something else than a score in [0, 1] for each mask.
    """
    file, _, name = text.partition(":")
    path = competition_file.parent / file
    for own in (path, competition_file):
        _refuse_in_folders_of_ours(own)
    content = read_bytes(path, LARGEST, f"{competition_file} has the score {text}, so that it must lie beside it")
    function = getattr(_module_of(path, content), name, None)
    if not callable(function):
        raise InputError(f"{path}: has no function {name}, which {competition_file} names as the score")
    score = OwnScore(text, hashlib.sha256(content).hexdigest(), competition_file, function)
    _try(score)
    return score


def _refuse_in_folders_of_ours(path: Path) -> None:
    for folder in path.resolve().parents:
        if (folder / RECORD).exists():
            raise InputError(
                f"{path}: is in {folder}, a folder of runs or masks, which may come from somebody else, so that no "
                "code in it is run; read the TOML and the Python file, and copy both elsewhere"
            )


def _module_of(path: Path, content: bytes) -> ModuleType:
    """The file as a module that nothing imports: those bytes whose SHA-256 is recorded, and no others."""
    module = ModuleType(path.stem)
    module.__file__ = str(path)
    try:
        exec(compile(content, str(path), "exec"), module.__dict__)
    except (Exception, SystemExit) as error:
        raise InputError(f"{path}: cannot be run ({type(error).__name__}: {error})") from error
    return module


def _try(score: OwnScore) -> None:
    together = score(TRIAL)
    for at, expected in enumerate(together):
        alone = float(score(Overlap(*(np.asarray(count)[at] for count in TRIAL))))
        if abs(alone - expected) > ROUNDING:
            raise InputError(
                f"{score._where}: gave {alone:g} for a mask alone and {expected:g} for it among others; the score of a "
                "mask must depend on its own pixel counts alone"
            )

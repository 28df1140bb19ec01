"""What a run is about: `folds.csv`, which fold holds out which photo, and that no group leaks; and `data.csv`.

`data.csv` records photos and masks by their content: folds that were trained on different ones have no common score.

Knows nothing of torch.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from kaggle_tools.competitions.competition import Competition
from kaggle_tools.competitions.groups import groups_and_views
from kaggle_tools.config.training import TrainingConfig
from kaggle_tools.data.fingerprint import (
    Fingerprint,
    differences,
    fingerprint_of,
    read_fingerprint,
    write_fingerprint,
)
from kaggle_tools.data.folds import assign_folds
from kaggle_tools.data.images import read_mask
from kaggle_tools.data.listing import Photo
from kaggle_tools.errors import InputError, counted, first_few
from kaggle_tools.results.run_folder import (
    CONFIG_FILE,
    DATA_FILE,
    FOLDS_FILE,
    OOF_FILE,
    WRITES,
    differing,
    finished_folds,
    is_begun,
    read_config,
    read_folds,
    read_oof,
)
from kaggle_tools.system.files import deny_links, locked, write_text
from kaggle_tools.system.output import say


@dataclass(frozen=True)
class Split:
    """The photos of a fold."""

    training: list[Photo]
    """Those to train on."""
    held_out: list[Photo]
    """Those on which the fold is scored."""


def folds_of(run: Path, competition: Competition, photos: Sequence[Photo], config: TrainingConfig) -> dict[str, int]:
    """The fold of each photo by its stem: read from `folds.csv`, or drawn and written there.

    Raises:
        InputError: too few groups for the folds, or `folds.csv` is about other photos, lets a group leak, or has other
            folds than those that were trained.
    """
    path = run / FOLDS_FILE
    if not path.exists():
        write_text(path, _drawn(competition, photos, config).to_csv(index=False, lineterminator="\n"))
    table = read_folds(run)
    folds = dict(zip(table["image"], table["fold"].tolist(), strict=True))
    folds_per_group = table.groupby("group")["fold"].nunique()
    strange = sorted({photo.stem for photo in photos} ^ folds.keys())
    if strange:
        raise InputError(f"{path}: not about the photos in the data folder; they differ in {first_few(strange)}")
    if leaked := folds_per_group.index[folds_per_group.gt(1)].tolist():
        raise InputError(_leak(path, competition, leaked))
    _require_whole_groups(path, competition, folds)
    if set(folds.values()) != set(range(config.folds)):
        raise InputError(f"{path}: its folds are {sorted(set(folds.values()))}, but {config.folds} were asked for")
    _require_trained_folds(run, competition, folds)
    return folds


def held_out_counts(run: Path, competition: Competition, photos: Sequence[Photo], config: TrainingConfig) -> list[int]:
    """How many photos each fold holds out, as the run's `folds.csv` says, or as they will be drawn.

    Raises:
        InputError: see `folds_of`.
    """
    is_redrawn = (run / CONFIG_FILE).exists() and bool({"folds", "seed"} & {*differing(read_config(run), config)})
    if (run / FOLDS_FILE).exists() and (is_begun(run) or not is_redrawn):
        folds = [*folds_of(run, competition, photos, config).values()]
    else:
        folds = _drawn(competition, photos, config)["fold"].tolist()
    return [folds.count(fold) for fold in range(config.folds)]


def require_enough_groups(competition: Competition, photos: Sequence[Photo], folds: int) -> None:
    """Check that each fold can have a group.

    Raises:
        InputError: there are fewer groups than folds.
    """
    there = len({competition.group_and_view(photo.stem)[0] for photo in photos})
    if there >= folds:
        return
    only = counted(there, f"{competition.group_name} is there", f"{competition.group_name}s are there")
    remedy = f"; give --folds {there} or fewer" if there > 1 else ""
    raise InputError(f"--folds {folds}: only {only}, of which none may be in two folds{remedy}")


def recorded_files(run: Path, table: str = DATA_FILE) -> Fingerprint:
    """The photos and masks that the run was begun with; empty where it has recorded none.

    Raises:
        InputError: the table is damaged.
    """
    return read_fingerprint(run / table) if (run / table).exists() else {}


def are_unchanged(run: Path, files: Fingerprint, table: str = DATA_FILE) -> bool:
    """Whether photos and masks are those that the run recorded; not so where it has recorded none.

    As long as no fold is begun they may change.

    Raises:
        InputError: the run was begun with others; the differences are named.
    """
    if not (run / table).exists():
        return False
    changes = differences(read_fingerprint(run / table), files)
    if changes and is_begun(run):
        raise InputError(
            f"{run}: begun with other photos or masks ({changes}). Its folds would have no common score: restore these "
            "files, or give another --out."
        )
    return not changes


def record_files(run: Path, files: Fingerprint, table: str = DATA_FILE) -> None:
    """Record photos and masks as those that the run is about; says so of a run that was begun without.

    Raises:
        InputError: on another machine the run was begun with others.
    """
    with locked(run, WRITES):
        if are_unchanged(run, files, table):
            return
        if is_begun(run):
            say(f"{run / table}: photos and masks are recorded from now on; what they were before is not known")
        write_fingerprint(run / table, files)


def keep_files(run: Path, photos: Sequence[Photo], table: str = DATA_FILE) -> None:
    """Record photos and masks, or check that they are those that were recorded.

    Raises:
        InputError: the run was begun with others; or a file cannot be read.
    """
    files = fingerprint_of(photos)
    if not are_unchanged(run, files, table):
        record_files(run, files, table)


def require_unseen(parent: Path, fold: int, held_out: list[Photo], competition: Competition) -> None:
    """Check that the same fold of another run, whose weights are to be taken over, never saw a group held out here.

    Raises:
        InputError: it did, which would be a leak; or it is not there, or its `folds.csv` cannot be read, or a link
            leads out of it.
    """
    if not parent.is_dir():
        raise InputError(f"--init {parent}: no such folder; give it again, if `--config` recorded it in another one")
    deny_links(parent)
    path = parent / FOLDS_FILE
    table = read_folds(parent)
    trained_on = table.loc[table["fold"] != fold]
    seen = {*trained_on["group"], *groups_and_views(trained_on["image"], competition)[0]}
    leaked = sorted({competition.group_and_view(photo.stem)[0] for photo in held_out} & seen)
    if leaked:
        raise InputError(
            f"--init {parent}: leak: its fold {fold} was trained on {first_few(leaked)}, held out in fold {fold} here, "
            f"so that the score would be too high. Copy {path} into the new run's folder first."
        )


def split(photos: Sequence[Photo], fold_by_stem: Mapping[str, int], fold: int) -> Split:
    """The photos to train on and those that are held out, for one fold."""
    held_out = [photo for photo in photos if fold_by_stem[photo.stem] == fold]
    return Split([photo for photo in photos if fold_by_stem[photo.stem] != fold], held_out)


def _require_whole_groups(path: Path, competition: Competition, folds: Mapping[str, int]) -> None:
    """Check the groups that follow from the names of the photos: those in the table may be somebody's own.

    Raises:
        InputError: one is in two folds.
    """
    folds_of_group: dict[str, set[int]] = {}
    for group, fold in zip(groups_and_views(folds, competition)[0], folds.values(), strict=True):
        folds_of_group.setdefault(group, set()).add(fold)
    leaked = sorted(group for group, found in folds_of_group.items() if len(found) > 1)
    if leaked:
        raise InputError(_leak(path, competition, leaked))


def _leak(path: Path, competition: Competition, groups: list[str]) -> str:
    name = competition.group_name
    found = f"{counted(len(groups), f'{name} is', f'{name}s are')} in two folds or more ({first_few(groups)})"
    return f"{path}: leak: {found}, so that the score would be too high"


def _require_trained_folds(run: Path, competition: Competition, folds: Mapping[str, int]) -> None:
    for fold in finished_folds(run):
        held_out = {name for stem, own in folds.items() if own == fold for name in competition.names_of(stem)}
        if set(read_oof(run, [fold])["image"]) != held_out:
            raise InputError(
                f"{run / FOLDS_FILE}: not the folds that were trained: fold {fold} held out other photos, as its "
                f"{OOF_FILE} says. Put back the {FOLDS_FILE} of this run, or give another --out."
            )


def _drawn(competition: Competition, photos: Sequence[Photo], config: TrainingConfig) -> pd.DataFrame:
    """What `folds.csv` shall hold, drawn with the seed of the configuration."""
    require_enough_groups(competition, photos, config.folds)
    groups = [competition.group_and_view(photo.stem)[0] for photo in photos]
    strata = [_stratum(photo, competition.coverage_strata) for photo in photos] if competition.coverage_strata else None
    try:
        folds = assign_folds(groups, config.folds, config.seed, strata)
    except ValueError as error:
        why = "no stratum of its coverage_strata has so many photos"
        raise InputError(f"--folds {config.folds}: too many for {competition.title}, as {why}; give fewer") from error
    return pd.DataFrame({"image": [photo.stem for photo in photos], "group": groups, "fold": folds})


def _stratum(photo: Photo, boundaries: tuple[float, ...]) -> int:
    """Which shares of the photo the masks cover: one number for each combination over the classes."""
    stratum = 0
    for target in photo.targets:
        assert target.mask is not None, f"{target.stem} has no mask"
        stratum = stratum * (len(boundaries) + 1) + int(np.searchsorted(boundaries, read_mask(target.mask).mean()))
    return stratum

"""What held-out photos say of the masks of unknown photos: the best threshold, and the score to expect.

Held-out photos are those that the selected networks were not trained on, with the probabilities that these networks
gave them. Of one run, its folds have kept all that is needed. A mix of runs is mixed again on the held-out photos, from
their saved probabilities.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from kaggle_tools.competitions.competition import Competition
from kaggle_tools.data.fingerprint import sha256_of_all
from kaggle_tools.data.listing import Photo, targets_of, training_photos
from kaggle_tools.errors import InputError, counted, first_few
from kaggle_tools.inference.ensemble import Ensemble, Member
from kaggle_tools.inference.out_of_fold import held_out_by_mix
from kaggle_tools.results import run_folder
from kaggle_tools.results.after_care import AfterCare, chosen
from kaggle_tools.results.fold_table import recorded_files
from kaggle_tools.results.records.histograms import HeldOut
from kaggle_tools.results.records.masks import ClassRecord, Network, Record
from kaggle_tools.results.scores import ExpectedScore, ValidatedRun
from kaggle_tools.results.summary import (
    after_care_trials,
    cross_validation,
    estimate_at,
    expected_excess,
    held_out_by,
)
from kaggle_tools.system.output import warn
from kaggle_tools.system.processes import is_first_process

FEW_PHOTOS = 2_000
"""So many are compared with those of a training, whatever they are called."""


@dataclass(frozen=True)
class Selection:
    """Which networks mask the photos, and how much each counts."""

    runs: tuple[Path, ...]
    folds: tuple[int, ...] | None = None
    """The folds of the runs whose networks are used; None: all that are trained."""
    weights: tuple[float, ...] | None = None
    """How much each run counts, shared by its folds; None: each network alike."""


class RecordedScores(NamedTuple):
    """What `run.json` records of the scores of a selection."""

    cross_validation: tuple[ValidatedRun, ...]
    expected: ExpectedScore


@dataclass(frozen=True)
class Evidence:
    """What the held-out photos of a selection say; their files are read once, when they are first needed."""

    selection: Selection
    competition: Competition
    data: Path | None = None
    """Where the true masks are if they are not where a run was trained."""

    @property
    def held_out(self) -> HeldOut | None:
        """The photos that the networks never saw; None where little was kept of them, or their true masks are gone.

        Raises:
            InputError: their files are damaged or gone.
        """
        return None if isinstance(self._found, str) else self._found

    @property
    def why_unknown(self) -> str:
        """Why there are no held-out photos, where there are none."""
        return self._found if isinstance(self._found, str) else ""

    def after_care(self) -> AfterCare | None:
        """How masks are made, as far as the held-out photos show that it pays; None without these.

        Raises:
            InputError: their files are damaged or gone.
        """
        return chosen(after_care_trials(self.held_out, self.competition)) if self.held_out else None

    def record(
        self, ensemble: Ensemble, care: AfterCare, folder: Path, photos: Sequence[Photo], batch_size: int
    ) -> Record:
        """What `run.json` records of the masks that the selection's ensemble makes of photos in a folder.

        Of several processes only the first one, which writes it, looks for the scores.
        """
        record = Record(
            competition=self.competition.slug,
            photos=str(folder.resolve()),
            models=tuple(member.recorded() for member in ensemble.members),
            tta=ensemble.tta,
            tta_scales=ensemble.scales,
            threshold=None if care.by_class else ensemble.threshold,
            smallest_part=care.smallest_part or None,
            smallest_hole=care.smallest_hole or None,
            classes={
                name: ClassRecord(of_class.threshold, of_class.smallest_part, of_class.smallest_hole)
                for name, of_class in care.by_class
            },
            batch_size=batch_size,
            precision=ensemble.precision,
        )
        if not is_first_process():
            return record
        _warn_of_copies(ensemble.members, record.models)
        same_tta = all(member.own_tta == (ensemble.tta, ensemble.scales) for member in ensemble.members)
        scores = self.scores(care, same_tta=same_tta)
        expected = scores.expected
        try:
            if seen := self._seen_in_training(photos):
                warn(f"{seen}: masks of these look better than those of unknown photos will")
                expected = ExpectedScore(None, seen)
        except InputError as error:  # files are damaged: then nobody knows
            expected = ExpectedScore(None, str(error))
        return replace(record, cross_validation=scores.cross_validation, expected=expected)

    def scores(self, care: AfterCare, *, same_tta: bool) -> RecordedScores:
        """The runs' cross-validation, and the score to expect of masks made in this way, or why it is not known.

        Damaged files are such a reason: with a threshold given, the masks do not depend on them. `same_tta`: the photos
        are averaged over the same flips and scales as the held-out photos.
        """
        try:
            validated = cross_validation(self.selection.runs, self.competition)
            return RecordedScores(validated, self._expected_score(care, same_tta))
        except InputError as error:
            return RecordedScores((), ExpectedScore(None, str(error)))

    @cached_property
    def _found(self) -> HeldOut | str:
        """The held-out photos, or why there are none."""
        runs, folds = self.selection.runs, self.selection.folds or ()
        if len(runs) > 1:
            return self._found_of_a_mix(runs, folds)
        finished = self._finished_folds()
        return held_out_by(runs[0], finished) if finished else f"there are no out-of-fold photos in {runs[0]}"

    def _finished_folds(self) -> list[int]:
        """Of the first run, those of the selection that are trained and scored."""
        folds = self.selection.folds
        return [fold for fold in run_folder.finished_folds(self.selection.runs[0]) if not folds or fold in folds]

    def _found_of_a_mix(self, runs: Sequence[Path], folds: Sequence[int]) -> HeldOut | str:
        saved = [run_folder.saved_oof_probabilities(run, folds).keys() for run in runs]
        if not all(saved):
            return "not all runs of the mix were trained with --save-oof-probabilities"
        common = set.intersection(*map(set, saved))
        if not common:
            return "the runs of the mix held out no photo in common"
        photos = self.true_photos(common)
        if isinstance(photos, str):
            return f"{photos}; give --threshold, or `infer` where the true masks are"
        networks_per_run = [len(folds or run_folder.trained_folds(run)) for run in runs]
        return held_out_by_mix(runs, self.selection.weights or networks_per_run, photos, folds)

    def _expected_score(self, care: AfterCare, same_tta: bool) -> ExpectedScore:
        if self.held_out is None:
            return ExpectedScore(None, self.why_unknown)
        excess = self._excess()
        if not same_tta:
            return ExpectedScore(None, "the out-of-fold photos were masked with another TTA", excess)
        return ExpectedScore(estimate_at(self.held_out, self.competition, care), excess=excess)

    def _seen_in_training(self, photos: Sequence[Photo]) -> str:
        """Which photos a network of the selection was trained on, by content; empty where it was on none.

        Those of `--extra` are unknown, with masks that a network made.

        Raises:
            InputError: files of a run are damaged.
        """
        for run in self.selection.runs:
            seen = _trained_on(photos, run, self.selection.folds or run_folder.trained_folds(run), self.competition)
            if seen:
                return f"{run} was trained on {counted(len(seen), 'photo')} of these: {first_few(seen)}"
        return ""

    def _excess(self) -> float | None:
        """How much too high the score was that held-out photos' probabilities promised; of a mix that is not known."""
        runs = self.selection.runs
        return expected_excess(runs[0], self._finished_folds(), self.competition) if len(runs) == 1 else None

    def true_photos(self, stems: Collection[str]) -> list[Photo] | str:
        """The training photos of these stems, from where a run was trained or else from `data`; or why not."""
        recorded = [run_folder.read_config(run).data for run in self.selection.runs]
        why = f"{self.selection.runs[0]} was trained with --data {recorded[0]}, which is no folder here"
        folders = [Path(folder) for folder in (*recorded, self.data or "") if folder]
        for folder in filter(Path.is_dir, folders):
            try:
                photos = [one for one in targets_of(training_photos(self.competition, folder)) if one.stem in stems]
            except InputError as error:
                why = str(error)
                continue
            if photos:
                return photos
            why = f"{folder} holds none of the photos that the runs held out"
        return why


def _trained_on(photos: Sequence[Photo], run: Path, folds: Collection[int], competition: Competition) -> list[str]:
    """The names of those photos on which at least one of these folds was trained.

    Of many, only those are compared whose names are those of such photos.

    Raises:
        InputError: files of the run are damaged, or a photo cannot be read.
    """
    recorded = recorded_files(run)
    table = run_folder.read_folds(run) if recorded else pd.DataFrame({"image": [], "fold": []})
    held_out = dict(zip(table["image"], table["fold"], strict=True))
    stem_of = {name: stem for stem in held_out for name in competition.names_of(stem)}
    trained = {
        hashes.photo: stem_of[name]
        for name, hashes in recorded.items()
        if name in stem_of and {*folds} - {held_out[stem_of[name]]}
    }
    stems = {*trained.values()}
    compared = photos if len(photos) <= FEW_PHOTOS else [photo for photo in photos if photo.stem in stems]
    hashes = sha256_of_all([photo.path for photo in compared], "photos compared with those of the training")
    return [photo.path.name for photo, found in zip(compared, hashes, strict=True) if found in trained]


def _warn_of_copies(members: Sequence[Member], recorded: Sequence[Network]) -> None:
    """Say so where a network is there twice, as when a fold's file was copied over another's: it then counts twice."""
    folders: dict[str, list[str]] = {}
    for member, network in zip(members, recorded, strict=True):
        folders.setdefault(network.sha256, []).append(str(member.folder))
    for same in folders.values():
        if len(same) > 1:
            warn(f"the same weights are in {first_few(same)}, and count {len(same)} times")

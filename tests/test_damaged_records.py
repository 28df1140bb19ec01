"""What a command reads of a folder from elsewhere is right, or refused with the file's name; never a traceback."""

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest
from damage import Damage, of_arrays, of_json, of_lines, of_table
from known_competitions import CARVANA
from shared_folder import write_shared_folder

from kaggle_tools.commands.train import config_in_file
from kaggle_tools.competitions.competition import Competition
from kaggle_tools.competitions.named import recorded
from kaggle_tools.data import fingerprint
from kaggle_tools.errors import InputError
from kaggle_tools.kaggle_api import ledger, overview
from kaggle_tools.models.weights import ModelCard, read_card
from kaggle_tools.results import pred_folder, run_folder, summary
from kaggle_tools.results.records.masks import MaskedPhoto, Record
from kaggle_tools.results.records.progress import Progress, read_progress
from kaggle_tools.results.records.run import Settings, Timing
from kaggle_tools.results.scores import Estimate

pytestmark = pytest.mark.slow


class Reader(NamedTuple):
    """A file, what damages it, what reads it, and whether what was read can be."""

    file: str
    damages: Callable[[bytes], Iterator[Damage]]
    read: Callable[[Path], Any]
    is_possible: Callable[[Any], bool]


def is_score(value: float | None) -> bool:
    return value is None or 0 <= value <= 1 + 1e-6


def is_estimate(estimate: Estimate | None) -> bool:
    return estimate is None or all(map(is_score, (estimate.score, *(estimate.interval or ()))))


def is_count(value: int | None) -> bool:
    return value is None or (type(value) is int and 0 <= value <= 10**12)


def are_settings(settings: Settings) -> bool:
    return settings.width > 0 and 0 < settings.folds <= 10_000 and is_count(settings.epochs)


def is_competition(competition: Competition) -> bool:
    return (
        "{stem}" in competition.train_photos and competition.rle_first in (0, 1) and is_score(competition.blank_share)
    )


def is_timing(timing: Timing) -> bool:
    return 0 <= timing.training_seconds < math.inf and is_count(timing.epochs) and is_count(timing.devices)


def is_progress(progress: Progress) -> bool:
    left = [seconds for seconds in (progress.seconds_left, progress.all_seconds_left) if seconds is not None]
    return is_count(progress.epochs_done) and all(0 <= seconds <= 2**33 for seconds in (progress.written, *left))


def is_record(record: Record) -> bool:
    networks = all(is_count(network.fold) and 0 <= (network.weight or 0) < math.inf for network in record.models)
    scores = [run.score for run in record.cross_validation] + [record.expected.estimate if record.expected else None]
    return networks and is_score(record.threshold) and is_count(record.count) and all(map(is_estimate, scores))


def is_oof(table: pd.DataFrame) -> bool:
    return table["image"].is_unique and table[["score", "dice", "iou"]].stack().between(0, 1).all()


def are_folds(table: pd.DataFrame) -> bool:
    return table["image"].is_unique and table["fold"].between(0, 10**6).all()


def are_histograms(held_out: summary.HeldOut) -> bool:
    counts = held_out.histograms
    return (
        len(held_out.stems) == len(counts)
        and counts.shape[1:] == (2, 256)
        and counts.dtype == np.int64
        and counts.min() >= 0
    )


def is_card(card: ModelCard) -> bool:
    return 0 < card.architecture.width <= 4096 and all(0 < scale < 100 for scale in card.tta_scales)


def are_photos(photos: list[MaskedPhoto]) -> bool:
    known = [getattr(photo, name) for photo in photos for name in ("area", "expected_dice", "agreement")]
    return all(map(is_score, known)) and len({photo.image for photo in photos}) == len(photos)


def read_ledger(file: Path) -> list[ledger.Entry]:
    entries = ledger.read(file)
    overview.table(entries).turned_for_terminal()
    overview.known_scores(entries)
    ledger.left_out(file)
    return entries


def are_entries(entries: list[ledger.Entry]) -> bool:
    scores = [score for entry in entries for score in (entry.public_score, entry.private_score)]
    return all(score is None or math.isfinite(score) for score in scores)


READERS = [
    Reader("run/config.json", of_json, lambda file: run_folder.read_settings(file.parent), are_settings),
    Reader("run/config.json", of_json, lambda file: config_in_file(file, CARVANA), lambda config: config.folds >= 2),
    Reader("run/competition.json", of_json, lambda file: recorded(file.parent, CARVANA.slug), is_competition),
    Reader("run/fold0/timing.json", of_json, lambda file: run_folder.read_timing(file.parent), is_timing),
    Reader("run/fold0/progress.json", of_json, lambda file: read_progress(file.parent), is_progress),
    Reader("run/fold0/model.json", of_json, lambda file: read_card(file.parent), is_card),
    Reader("pred/run.json", of_json, lambda file: pred_folder.read_record(file.parent), is_record),
    Reader("ledger.jsonl", of_lines, read_ledger, are_entries),
    Reader("run/fold0/oof.csv", of_table, lambda file: run_folder.read_oof(file.parents[1], [0]), is_oof),
    Reader("run/folds.csv", of_table, lambda file: run_folder.read_folds(file.parent), are_folds),
    Reader("run/data.csv", of_table, fingerprint.read_fingerprint, lambda files: isinstance(files, dict)),
    Reader("run/fold0/metrics.csv", of_table, lambda file: run_folder.read_metrics(file.parents[1], 0), len),
    Reader("pred/photos.csv", of_table, lambda file: pred_folder.read_photos(file.parent), are_photos),
    Reader(
        "run/fold0/oof_histograms.npz",
        of_arrays,
        lambda file: summary.held_out_by(file.parents[1], [0]),
        are_histograms,
    ),
]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shared")
    write_shared_folder(folder)
    return folder


@pytest.mark.parametrize("reader", READERS, ids=lambda reader: reader.file)
def test_a_record_that_was_changed_in_one_place_is_read_as_it_can_be_or_refused_by_name(
    shared: Path, reader: Reader
) -> None:
    path = shared / reader.file
    whole, wrong = path.read_bytes(), []
    assert reader.is_possible(reader.read(path))
    for damage in reader.damages(whole):
        path.write_bytes(damage.content)
        try:
            if not reader.is_possible(found := reader.read(path)):
                wrong.append(f"{damage.what}: believed: {found}"[:500])
        except InputError as refusal:
            if len(str(refusal)) > 5000 or path.name not in str(refusal):
                wrong.append(f"{damage.what}: {str(refusal)[:300]}")
        except Exception as error:
            wrong.append(f"{damage.what}: {type(error).__name__}: {error}"[:500])
    path.write_bytes(whole)
    assert wrong == []

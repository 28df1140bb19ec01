"""The folder of a training run: what is in it.

RUN/config.json, competition.json   everything needed to repeat the run: a `RunConfig`, and see `competitions.named`
RUN/folds.csv                       image,group,fold: see `fold_table`
RUN/data.csv, extra.csv             image,photo_sha256,mask_sha256: the files that the run is about, see `fold_table`
RUN/oof.csv                         the held-out photos of all finished folds
RUN/thresholds.csv                  the mean score of all held-out photos at each threshold
RUN/summary.json                    what the finished folds have reached: a `Summary`
RUN/report.html, comparison.html    the page of the run, and that of several runs beside each other

RUN/fold<K>/model.safetensors, model.json    the best weights, and what must be known of them
RUN/fold<K>/metrics.csv, tensorboard/        the learning curves
RUN/fold<K>/progress.json, timing.json       how far the training is (`Progress`); how long it took (`Timing`)
RUN/fold<K>/checkpoints/                     those of Lightning, from which an interrupted fold continues
RUN/fold<K>/oof.csv                          image,fold,score,dice,iou,expected_dice,expected_score,…: last
RUN/fold<K>/oof_histograms.npz               how many pixels of each held-out photo have which probability
RUN/fold<K>/oof/masks/<stem>.png             the predicted masks of the held-out photos
RUN/fold<K>/oof/probabilities/<stem>.png     where asked for: their probabilities, 8 bits a pixel

Knows nothing of torch.
"""

import platform
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd

from kaggle_tools.config.recorded import as_recorded_now, settings_of
from kaggle_tools.config.training import TrainingConfig
from kaggle_tools.config.values import FULL, IMAGENET
from kaggle_tools.errors import InputError, first_few
from kaggle_tools.options import size_as_text
from kaggle_tools.results.records.masks import RECORD_FILE
from kaggle_tools.results.records.run import RunConfig, Settings, Timing
from kaggle_tools.results.scores import COUNTS, EXPECTED_COUNTS
from kaggle_tools.results.tables import Kind, read_table
from kaggle_tools.system.files import LOCK_FILE, deny_links, is_locked, read_json, require_regular, sha256, write_json
from kaggle_tools.system.json_values import LARGEST_NUMBER, MalformedError
from kaggle_tools.system.version import commit, installed_versions

CONFIG_FILE, FOLDS_FILE, OOF_FILE = "config.json", "folds.csv", "oof.csv"
REPORT_FILE, COMPARISON_FILE = "report.html", "comparison.html"
DATA_FILE, EXTRA_FILE = "data.csv", "extra.csv"
HISTOGRAMS_FILE, METRICS_FILE, TIMING_FILE = "oof_histograms.npz", "metrics.csv", "timing.json"
CARD_FILE = "model.json"
"""What must be known of a fold's weights; the rest of this package does without torch, which loading them needs."""
TENSORBOARD = "tensorboard"
"""The folder with a fold's learning curves for TensorBoard."""
EXPECTED_DICE, EXPECTED_SCORE = "expected_dice", "expected_score"
"""Columns of `oof.csv` that older runs lack."""
_IMAGE, _WHOLE, _SHARE = Kind(is_text=True, is_photo=True), Kind(is_whole=True, most=10**6), Kind(most=1)
_LEARNING = Kind(least=-1e9, most=1e9, may_be_missing=True)
"""A loss may have been NaN; one that is larger no axis can show."""
FOLDS_COLUMNS = {"image": _IMAGE, "group": Kind(is_text=True), "fold": _WHOLE}
OOF_COLUMNS = {
    **{"image": _IMAGE, "fold": _WHOLE, "score": _SHARE, "dice": _SHARE, "iou": _SHARE},
    **dict.fromkeys([EXPECTED_DICE, EXPECTED_SCORE], Kind(most=1 + 1e-6, may_be_missing=True)),
    **dict.fromkeys([*COUNTS, *EXPECTED_COUNTS], Kind(most=LARGEST_NUMBER, may_be_missing=True)),
}
METRICS_COLUMNS = {"epoch": _WHOLE} | dict.fromkeys(["lr", "train_loss", "val_loss", "val_dice", "val_iou"], _LEARNING)
BINS = 256
"""Probabilities are counted in this many equal bins; the thresholds tried are the bins' lower ends."""
DEFAULT_THRESHOLD = 0.5
LARGEST_WEIGHTS = 2**34  # bytes of a file of pretrained weights
WRITES = "writes the tables of this run"
MADE_BY = {
    CONFIG_FILE: "a run of `train`",
    CARD_FILE: "the network of a fold",
    RECORD_FILE: "masks of `infer` or `blend`",
}
"""The files by which folders are known that our commands made."""


def fold_folder(run: Path, fold: int) -> Path:
    """Where a fold keeps its files."""
    return run / f"fold{fold}"


def checkpoints_folder(fold_folder: Path) -> Path:
    """Where the checkpoints of the training are."""
    return fold_folder / "checkpoints"


def checkpoint_path(fold_folder: Path, name: str) -> Path:
    """Where a checkpoint of the training is."""
    return checkpoints_folder(fold_folder) / f"{name}.ckpt"


def oof_mask_path(fold_folder: Path, stem: str) -> Path:
    """Where the predicted mask of a held-out photo is."""
    return fold_folder / "oof" / "masks" / f"{stem}.png"


def oof_probability_path(fold_folder: Path, stem: str) -> Path:
    """Where the predicted probabilities of a held-out photo are, if they were saved."""
    return fold_folder / "oof" / "probabilities" / f"{stem}.png"


def saved_oof_probabilities(run: Path, folds: Collection[int] = ()) -> dict[str, Path]:
    """The saved probabilities of held-out photos by stem: of these folds, or of all if none is named."""
    named = [fold_folder(run, fold) for fold in folds] or run.glob("fold*")
    paths = [path for folder in named for path in folder.glob(str(oof_probability_path(Path(), "*")))]
    return {path.stem: path for path in paths if not path.name.startswith(".")}


def is_finished(run: Path, fold: int) -> bool:
    """Whether the fold is trained and its out-of-fold photos are scored."""
    return (fold_folder(run, fold) / OOF_FILE).exists()


def finished_folds(run: Path) -> list[int]:
    """The folds that are trained and scored, in ascending order; maybe none."""
    return folds_with(run, OOF_FILE)


def begun_folds(run: Path) -> list[int]:
    """The folds of which at least one epoch is over, in ascending order; maybe none."""
    return folds_with(run, METRICS_FILE)


def trained_folds(run: Path) -> list[int]:
    """The folds that hold a network, in ascending order.

    Raises:
        InputError: there are none.
    """
    folds = folds_with(run, CARD_FILE)
    if not folds and (run / CONFIG_FILE).exists():
        raise InputError(f"{run}: no fold is trained to its end yet; the same `train` command continues")
    if not folds:
        raise InputError(f"{run}: no trained fold in it; is it a folder that `train --out` made?")
    return folds


def is_begun(run: Path) -> bool:
    """Whether anything was trained in it, or is being trained."""
    return any(
        any(checkpoints_folder(fold).glob("*.ckpt"))
        or any((fold / name).exists() for name in (CARD_FILE, OOF_FILE))
        or ((fold / LOCK_FILE).exists() and is_locked(fold))
        for fold in run.glob("fold*")
    )


def require_own_folder(out: Path, own: str, sources: Iterable[Path]) -> None:
    """Check that `out` is new, or a folder of the same kind, known by its file `own`; not one of the photos' `sources`.

    Raises:
        InputError: it is a file, or holds something else, or a link that leads elsewhere.
    """
    if out.exists() and not out.is_dir():
        raise InputError(f"--out {out}: is a file; give a folder")
    if not (out / own).exists():
        found = [made for name, made in MADE_BY.items() if (out / name).exists()]
        if out.resolve() in {source.resolve() for source in sources}:
            found.append("the photos")
        if found:
            raise InputError(f"--out {out}: holds {found[0]}; give a folder of its own")
    deny_links(out)


def write_config(
    run: Path,
    config: TrainingConfig,
    data: Path,
    command: str,
    asked: Mapping[str, int] | None = None,
    budget: float | None = None,
) -> None:
    """Write `config.json`, or check that the one that is there asks for the same result.

    `asked` are the settings that memory led away from; `budget` are the seconds that led to sizes and epochs.

    Raises:
        InputError: the run was begun with other settings, which are named, or from other pretrained weights; or these
            cannot be read.
    """
    path, settings, weights = run / CONFIG_FILE, settings_of(config), _pretrained_sha256(config)
    if path.exists():
        begun = read_config(run)
        names = differing(begun, config)
        if not names and begun.pretrained_sha256 == weights and (begun.budget == budget or is_begun(run)):
            return
        if not names and is_begun(run):
            raise InputError(
                f"{run}: begun with other weights than now in {config.pretrained}; put those back, or give another "
                "--out"
            )
        if is_begun(run):
            changes = "; ".join(f"{name} was {begun.settings.get(name)}, now {settings.get(name)}" for name in names)
            raise InputError(f"{run}: begun with other settings ({changes}). Give those, or another --out.")
        if {"folds", "seed"} & {*names}:
            (run / FOLDS_FILE).unlink(missing_ok=True)  # drawn with settings under which nothing was trained
    found = (commit(), installed_versions(), platform.platform(), asked or {}, weights, budget)
    now = datetime.now(UTC).isoformat(timespec="seconds")
    write_json(path, RunConfig(settings, str(data.resolve()), command, *found, now).to_json())


def differing(begun: RunConfig, config: TrainingConfig) -> list[str]:
    """The names of the settings with which a run was begun otherwise."""
    theirs, ours = as_recorded_now(begun.settings), settings_of(config)
    return [name for name in theirs | ours if theirs.get(name) != ours.get(name)]


def read_config(run: Path) -> RunConfig:
    """The contents of `config.json`.

    Raises:
        InputError: it is missing or damaged, or a link leads out of the run.
    """
    deny_links(run)
    return read_config_file(run / CONFIG_FILE)


def read_config_file(path: Path) -> RunConfig:
    """The contents of a `config.json`, wherever it lies.

    Raises:
        InputError: it is missing or damaged.
    """
    if_missing = f"is {path.parent} a folder that `train --out` made?"
    if (path.parent / RECORD_FILE).exists():
        if_missing = f"{path.parent} holds masks; `report` takes them as --pred"
    return read_json(path, if_missing, RunConfig.from_json)


def read_settings(run: Path) -> Settings:
    """Those of the settings in `config.json` that say what the run is.

    Raises:
        InputError: it is missing or damaged, or lacks one of them.
    """
    try:
        return Settings.from_json(read_config(run).settings)
    except MalformedError as error:
        raise InputError(f"{run / CONFIG_FILE}: damaged ({error.within('settings')})") from error


def asked_batch_size(run: Path) -> int:
    """The batch size that was asked for when the run was begun.

    Raises:
        InputError: `config.json` is missing or damaged, or lacks it.
    """
    begun = read_config(run)
    batch_size = begun.asked.get("batch_size", begun.batch_size)
    if batch_size is None:
        raise InputError(f"{run / CONFIG_FILE}: damaged (no batch_size in its settings, or not a whole number)")
    return batch_size


def write_timing(fold_folder: Path, timing: Timing) -> None:
    """Write `timing.json`."""
    write_json(fold_folder / TIMING_FILE, timing.to_json())


def read_timing(fold_folder: Path) -> Timing | None:
    """The contents of `timing.json`; None where there is none, as an older version trained the fold.

    Raises:
        InputError: it is damaged.
    """
    path = fold_folder / TIMING_FILE
    if not path.exists():
        return None
    return read_json(path, "the fold was trained by an older version", Timing.from_json)


def size_name(image_size: Sequence[int] | None) -> str:
    """(height, width) in pixels as `256x384`; `full` for the photos' own."""
    return size_as_text(image_size) if image_size else FULL


def read_oof(run: Path, folds: Sequence[int]) -> pd.DataFrame:
    """The out-of-fold photos of these folds: image, fold, score, dice, iou, and of the others what was recorded.

    Raises:
        InputError: a table is missing or damaged.
    """
    tables = []
    for fold in folds:
        path = fold_folder(run, fold) / OOF_FILE
        table = read_table(path, OOF_COLUMNS, optional=[EXPECTED_DICE, EXPECTED_SCORE, *COUNTS, *EXPECTED_COUNTS])
        if (table["fold"] != fold).any():
            raise InputError(f"{path}: damaged (photos of another fold)")
        tables.append(table)
    whole = pd.concat(tables, ignore_index=True)
    twice = whole.loc[whole["image"].duplicated(), "image"].tolist()
    if twice:
        raise InputError(f"{run}: photos that two folds held out, as their {OOF_FILE} say: {first_few(twice)}")
    return whole


def read_metrics(run: Path, fold: int) -> pd.DataFrame:
    """A fold's learning curves, a row for each epoch: epoch, lr, train_loss, val_loss, val_dice, val_iou.

    Raises:
        InputError: the table is missing or damaged.
    """
    return read_table(fold_folder(run, fold) / METRICS_FILE, METRICS_COLUMNS)


def read_folds(run: Path) -> pd.DataFrame:
    """The contents of `folds.csv`: image, group, fold.

    Raises:
        InputError: it is missing or damaged.
    """
    return read_table(run / FOLDS_FILE, FOLDS_COLUMNS)


def learning_curves(run: Path) -> dict[int, pd.DataFrame]:
    """What `read_metrics` reads, of all folds that have begun.

    Raises:
        InputError: a table is damaged.
    """
    return {fold: read_metrics(run, fold) for fold in begun_folds(run)}


def _pretrained_sha256(config: TrainingConfig) -> str | None:
    """Of the file of weights from which the encoder starts; None where there is none."""
    if config.pretrained in (None, IMAGENET):
        return None
    path = Path(config.pretrained)
    try:
        require_regular(path, LARGEST_WEIGHTS)
        return sha256(path)
    except OSError as error:
        raise InputError(f"--pretrained {path}: cannot be read ({error.strerror})") from error


def folds_with(run: Path, name: str) -> list[int]:
    """The folds in whose folder a file of this name lies, in ascending order."""
    return sorted(int(path.parent.name[4:]) for path in run.glob(f"fold*/{name}") if path.parent.name[4:].isdecimal())

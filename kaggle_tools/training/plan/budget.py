"""What to train within a given time: how fast this machine is, what there is to do, and what is said of the plan.

H height, W width.
"""

import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from math import ceil
from pathlib import Path

from kaggle_tools.competitions.competition import Competition
from kaggle_tools.config.execution import Execution
from kaggle_tools.config.recorded import config_of_settings, settings_of
from kaggle_tools.config.training import TrainingConfig
from kaggle_tools.data.images import Size
from kaggle_tools.data.listing import Photo, largest_size
from kaggle_tools.errors import InputError, counted
from kaggle_tools.options import size_as_text
from kaggle_tools.results import run_folder
from kaggle_tools.system.hardware import best_device, has_its_own_memory
from kaggle_tools.system.output import say
from kaggle_tools.system.processes import device_count, is_started_by_others, on_a_gpu, own_gpu, visible_gpus
from kaggle_tools.system.progress import duration
from kaggle_tools.training.plan.sizes_and_epochs import Fold, Plan, least_plan, planned, sizes_for
from kaggle_tools.training.plan.speed import measured_speed

PLANNED = ("image_size", "early_sizes", "epochs")
"""The settings that a budget chooses, where they are not given."""
SHORTENING = {"epochs": "fewer --epochs", "image_size": "a smaller --image-size", "early_sizes": "fewer --early-sizes"}
"""What may help where a budget is too short and these settings are given."""
PAGE_SECONDS, SECONDS_A_PHOTO = 10.0, 0.02
"""What the page takes in the end, and tables with each held-out photo."""
MEASURED_FOR = 0.1
"""The share of a budget that the measuring of sizes may take."""
MARGIN = 1.25
"""Of the least time, what a budget that is advised has: it measures longer, and may find the machine slower."""


@dataclass(frozen=True)
class Budget:
    """The time that a command may take."""

    seconds: float
    started: float
    """When the command was, as `time.monotonic` counts."""
    given: frozenset[str] = frozenset()
    """The names of the settings that were decided by whoever asks."""

    @property
    def planned(self) -> list[str]:
        """The names of the settings that it decides."""
        return [name for name in PLANNED if name not in self.given]


@dataclass(frozen=True)
class Work:
    """The folds that are to be trained, and on what."""

    folds: int
    held_out: int
    """Photos of each."""
    devices: int
    """That share the batches of a fold."""
    at_once: int
    """Folds that are trained side by side."""
    has_page: bool

    def of_each_fold(self, seconds: float) -> float:
        """How many seconds of one device are left for each fold, of those that the whole command has left."""
        return (seconds - self._end) * self.devices / self._turns

    def seconds(self, plan: Plan) -> float:
        """How long the whole command takes after its measurement."""
        return plan.seconds * self._turns / self.devices + self._end

    @property
    def _turns(self) -> int:
        return ceil(self.folds / self.at_once)

    @property
    def _end(self) -> float:
        return (PAGE_SECONDS if self.has_page else 0) + SECONDS_A_PHOTO * self.held_out * self.folds


def settings_within(
    budget: Budget,
    run: Path,
    competition: Competition,
    photos: Sequence[Photo],
    config: TrainingConfig,
    execution: Execution,
    held_out: Sequence[int],
) -> TrainingConfig:
    """The settings with sizes and epochs for which there is time, or those with which the run was begun.

    Measures how fast this machine is, and prints the plan. `held_out`: how many photos each fold that is to be trained
    holds out.

    Raises:
        InputError: the run was begun with another budget, or not one epoch fits into this one (a budget that would do
            is named), or this is one of several processes that were started together, which cannot measure.
    """
    begun = _as_begun(run, config, budget)
    if begun is not None:
        return begun
    if is_started_by_others():
        raise InputError(
            "--budget: of processes that were started together none can measure the time; begin the run without "
            "torchrun, with --max-hours 0, and then give this command again"
        )
    say("measuring how fast this machine trains and masks, for --budget")
    sizes = (
        [config.image_size] if "image_size" in budget.given and config.image_size else sizes_for(largest_size(photos))
    )
    asked = (photos, competition, config, execution, sizes, MEASURED_FOR * budget.seconds)
    on_gpu = has_its_own_memory(best_device())
    speed = on_a_gpu(own_gpu("auto"), measured_speed, *asked) if on_gpu else measured_speed(*asked)

    work = _work(held_out, execution)
    # What an epoch takes besides its photos is not shared by the devices, by which all is divided in the end.
    speed = replace(speed, epoch=speed.epoch * work.devices)
    fold = Fold(len(photos) - work.held_out, work.held_out, speed, config.cropped)
    used = time.monotonic() - budget.started
    plan = planned(config, work.of_each_fold(budget.seconds - used), fold, sizes, budget.given)
    if plan is None:
        raise InputError(_too_short(config, fold, work, sizes_for(largest_size(photos)), budget, used))
    _say(plan, work, budget, used + work.seconds(plan))
    return plan.config


def _work(held_out: Sequence[int], execution: Execution) -> Work:
    side_by_side = execution.parallel_folds
    return Work(
        folds=len(held_out),
        held_out=ceil(sum(held_out) / len(held_out)),
        devices=1 if side_by_side else device_count(execution.devices, execution.nodes),
        at_once=max(1, len(visible_gpus(execution.devices))) if side_by_side else 1,
        has_page=execution.report,
    )


def _too_short(
    config: TrainingConfig, fold: Fold, work: Work, sizes: Sequence[Size], budget: Budget, used: float
) -> str:
    """That not even the least plan fits into what is left, and which budget, or which other options, would do."""

    def least(given: Collection[str], folds: int) -> tuple[Plan, float]:
        plan = least_plan(config, fold, sizes, given)
        return plan, replace(work, folds=folds).seconds(plan)

    plan, needed = least(budget.given, work.folds)
    shorter = {words: (budget.given - {name}, work.folds) for name, words in SHORTENING.items()}
    shorter["a single --fold"] = (budget.given, 1)
    advice = [words for words, changed in shorter.items() if used + least(*changed)[1] <= budget.seconds]
    remedies = " or ".join([f"--budget {ceil(MARGIN * (used + needed) / 60)}m", *advice])
    of_folds = f" for {work.folds} folds" if work.folds > 1 else ""
    what = f"{counted(plan.config.epochs, 'epoch')} at {size_as_text(plan.config.image_size or ())}{of_folds}"
    return (
        f"--budget: too short: after {duration(used)} for reading the photos and measuring, {what}, with masks and "
        f"tables, would take {duration(needed)} more at the speed of now. Give {remedies}."
    )


def _as_begun(run: Path, config: TrainingConfig, budget: Budget) -> TrainingConfig | None:
    """With the sizes and epochs with which the run was begun within this budget; None if nothing was begun."""
    if not (run / run_folder.CONFIG_FILE).exists():
        return None
    begun, is_begun = run_folder.read_config(run), run_folder.is_begun(run)
    if begun.budget == budget.seconds:
        full = ["image_size"] if config.image_size is None else []  # of which the plan has recorded what it is
        recorded = {name: begun.settings.get(name) for name in [*budget.planned, *full]}
        try:
            as_planned = config_of_settings({**settings_of(config), **recorded})
        except InputError:
            if is_begun:
                raise
            return None  # other settings, into which the plan does not fit
        if is_begun or not run_folder.differing(begun, as_planned):
            epochs = f"{counted(as_planned.epochs, 'epoch')} for each fold"
            say(f"the run goes on as it was planned within {duration(budget.seconds)}: {epochs}")
            return as_planned
    elif is_begun:
        was = f"with --budget {duration(begun.budget)}" if begun.budget else "without --budget"
        raise InputError(f"{run}: begun {was}. Give the command as it was, or another --out.")
    return None


def _say(plan: Plan, work: Work, budget: Budget, seconds: float) -> None:
    config, together = plan.config, f" on {counted(work.devices, 'device')}" if work.devices > 1 else ""
    early = [f"{epochs} at {height}x{width}" for height, width, epochs in config.early_sizes]
    last = f"{config.epochs - config.early_epochs} at {size_as_text(config.image_size or ())}"
    training, masking = (part / work.devices for part in (plan.training_seconds, plan.masking_seconds))
    say(f"plan: {counted(config.epochs, 'epoch')}, {', then '.join([*early, last])}, for {counted(work.folds, 'fold')}")
    say(f"a fold{together}: {duration(training)} of training, {duration(masking)} for its held-out photos")
    ends = datetime.now().astimezone() + timedelta(seconds=budget.started + seconds - time.monotonic())
    say(f"it ends at about {ends:%H:%M}, {duration(seconds)} after it began")

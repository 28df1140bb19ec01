"""What decides the speed of a training and what is kept beside it, but not its result."""

import re
from dataclasses import dataclass
from typing import Annotated

from kaggle_tools.config.values import path_text
from kaggle_tools.errors import InputError
from kaggle_tools.options import Check, Option, between, check_options, options_of
from kaggle_tools.system.processes import CORES

MACHINE, BESIDE = "Machine (does not change the result)", "Beside the training (does not change the result)"

DEFAULT_WORKERS = min(8, CORES)
"""More processes than that do not load photos any faster than a network takes them."""
WORKERS_IN_WORDS = "one a core, at most 8"
MOST_WORKERS = 1024
"""More would only fill the memory and the table of processes."""


DEVICES = Check(
    lambda text: re.fullmatch(r"auto|-1|[1-9]\d*|\d+(,\d+)+", text) is not None,
    "must be auto, how many, or the numbers of GPUs with commas between them, as 0,1",
)
WORKERS = between(0, MOST_WORKERS)


@dataclass(frozen=True)
class Execution:
    """How a training is carried out: what decides its speed and what is kept beside it, but not its result.

    Raises:
        InputError: a value that is not possible.
    """

    devices: Annotated[str, Option("How many GPUs to use; `0,1` for these two.", MACHINE, check=DEVICES)] = "auto"
    """As Lightning takes it."""
    nodes: Annotated[int, Option("How many machines take part in each fold.", MACHINE, minimum=1)] = 1
    parallel_folds: Annotated[bool, Option("Train one fold on each GPU.", MACHINE, names="--parallel-folds")] = False
    workers: Annotated[
        int,
        Option(
            "Processes that load photos, for each device.", MACHINE, minimum=0, check=WORKERS, default=WORKERS_IN_WORDS
        ),
    ] = DEFAULT_WORKERS
    cache: Annotated[
        str | None, Option("Keep resized photos in this folder, to load them faster.", MACHINE, "DIR", parse=path_text)
    ] = None
    compiled: Annotated[bool, Option("Compile the network; meant for GPUs.", MACHINE, names="--compile")] = False
    recompute: Annotated[
        int, Option("Gradient checkpointing: of so many U-Net levels, the largest first.", MACHINE, minimum=0)
    ] = 0
    """Instead of keeping their features for the backward pass; the weights have the same bits."""
    max_hours: Annotated[
        float | None, Option("Begin no epoch that would end after so many hours; exit code 75.", MACHINE, minimum=0)
    ] = None
    pictures_every: Annotated[
        int, Option("Log outlines on held-out photos every N epochs; 0: never.", BESIDE, minimum=0)
    ] = 0
    wandb: Annotated[str | None, Option("Log to Weights & Biases as well.", BESIDE, metavar="PROJECT")] = None
    save_oof_probabilities: Annotated[
        bool, Option("Keep out-of-fold probabilities.", BESIDE, names="--save-oof-probabilities")
    ] = False
    """As 8-bit images."""
    report: Annotated[
        bool, Option("Write RUN/report.html, meanwhile and at the end.", BESIDE, names="--report/--no-report")
    ] = True

    def __post_init__(self) -> None:
        check_options(self)
        if self.recompute and self.compiled:
            raise InputError("--recompute and --compile: give one; a compiled network decides itself what to keep")


EXECUTION_OPTIONS = options_of(Execution)

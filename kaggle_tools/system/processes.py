"""Several processes: which one this is, what they share, and commands that run at once, each on a GPU of its own."""

import logging
import os
import shlex
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from datetime import timedelta
from multiprocessing import get_context
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, TypeVar

from kaggle_tools.errors import InputError
from kaggle_tools.system.output import say, warn

if TYPE_CHECKING:
    from lightning import Fabric

T = TypeVar("T")

CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
"""The processor's cores that this process may use."""
STARTER = os.getppid()
"""The process that started this one."""
RANKS = ("RANK", "LOCAL_RANK", "NODE_RANK", "GROUP_RANK", "SLURM_PROCID")


def is_first_process() -> bool:
    """Whether this is the process, of the several that train together, that prints and writes the results.

    Lightning, torchrun and SLURM say so in the environment; Lightning's own first process has none of the names.
    """
    return all(int(os.environ.get(name, 0)) == 0 for name in RANKS)


def is_started_by_others() -> bool:
    """Whether torchrun, SLURM or Lightning has started this process beside others, or may have."""
    return any(name in os.environ for name in RANKS)


def is_orphan() -> bool:
    """Whether the process that started this one, and with it the work that they shared, has ended."""
    return os.getppid() != STARTER


def run_on_gpus(names: Sequence[str], gpus: Sequence[str], command: Callable[[str], Sequence[str]]) -> dict[str, int]:
    """Run a command for each name, never two on a GPU, and print their lines with the name in front.

    `gpus` are values for CUDA_VISIBLE_DEVICES; `command` is asked when a GPU is free. Returns the exit codes by name.
    """
    free: SimpleQueue[str] = SimpleQueue()
    for gpu in gpus:
        free.put(gpu)

    def run(name: str) -> int:
        gpu = free.get()
        try:
            return _run(command(name), gpu, f"[{name}]")
        finally:
            free.put(gpu)

    with ThreadPoolExecutor(len(gpus)) as pool:
        return dict(zip(names, pool.map(run, names), strict=True))


def own_command(*words: str, module: str = "kaggle_tools") -> list[str]:
    """The command line that runs one of our modules in a process of its own, given `own_environment`."""
    # -P: a file in the working folder that is called like a library must not take its place.
    return [sys.executable, "-P", "-m", module, *words]


def command_to_paste(*words: str) -> str:
    """A command line for people to paste, which works in a checkout and where the package is installed."""
    return shlex.join(["python", "-m", "kaggle_tools", *words])


def own_environment() -> dict[str, str]:
    """The environment in which Python finds this package, whether it is installed or not."""
    package = str(Path(__file__).parents[2])
    paths = os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH")]))
    return {**os.environ, "PYTHONPATH": paths}


def visible_gpus(devices: str = "auto") -> list[str]:
    """What CUDA_VISIBLE_DEVICES can be set to, so that each value shows one of the GPUs that `--devices` means.

    Raises:
        InputError: there are no such GPUs.
    """
    import torch

    count = torch.cuda.device_count()
    named = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
    seen = named[:count] if named != [""] else [str(number) for number in range(count)]
    if devices in ("auto", "-1") or not seen:
        return seen
    wanted = range(int(devices)) if devices.isdecimal() else [int(number) for number in devices.split(",")]
    if max(wanted) >= count:
        raise InputError(f"--devices {devices}: this machine shows {count} GPUs")
    return [seen[number] for number in wanted]


def own_gpu(devices: str) -> str:
    """The GPU, as CUDA_VISIBLE_DEVICES names it, that is this process's among those that `--devices` means.

    Raises:
        InputError: there are no such GPUs.
    """
    gpus = visible_gpus(devices)
    local = int(os.environ.get("LOCAL_RANK", os.environ.get("SLURM_LOCALID", 0)))
    return gpus[local % len(gpus)] if gpus else ""


def on_a_gpu(gpu: str, function: Callable[..., T], *given: object) -> T:
    """What a function answers, or raises, in a fresh process that sees one GPU alone and leaves nothing in its memory.

    Raises:
        BrokenProcessPool: the process was killed.
    """
    with ProcessPoolExecutor(1, get_context("spawn"), _show_only, (gpu,)) as pool:
        return pool.submit(function, *given).result()


def warn_of_idle_gpus(devices: str, nodes: int) -> None:
    """Say so where SLURM has started fewer processes on a node than it has GPUs."""
    import torch
    from lightning.fabric.plugins.environments.slurm import SLURMEnvironment

    if devices != "auto" or not SLURMEnvironment.detect():
        return
    tasks, gpus = int(as_started(devices, nodes)[0]), torch.cuda.device_count()
    if tasks < gpus:
        warn(f"SLURM has started {tasks} of the {gpus} processes that {gpus} GPUs need: srun --ntasks-per-node={gpus}")


def launch(devices: str, nodes: int) -> "Fabric":
    """Start the processes that share a piece of work, one for each device; from here on, each of them runs on its own.

    They are started here, or, where torchrun or SLURM has started them already, recognised.

    Raises:
        InputError: there are no such devices.
    """
    from lightning import Fabric
    from lightning.fabric.strategies.ddp import DDPStrategy
    from lightning.fabric.utilities.exceptions import MisconfigurationException

    for name in ("lightning.fabric", "lightning.pytorch"):
        logging.getLogger(name).setLevel(logging.WARNING)
    ranks = device_count(devices, nodes)
    per_node, nodes = as_started(devices, nodes)
    # They exchange nothing but a few words at the end, for which the fast ones wait as long as it takes.
    together = DDPStrategy(process_group_backend="gloo", timeout=timedelta(days=7))
    try:
        fabric = Fabric(devices=per_node, num_nodes=nodes, strategy=together if ranks > 1 else "auto")
    except (MisconfigurationException, RuntimeError, ValueError, TypeError) as error:
        raise InputError(f"--devices {devices} --nodes {nodes}: {error}") from error
    fabric.launch()
    return fabric


def as_started(devices: str, nodes: int) -> tuple[str, int]:
    """The devices of each node and the number of nodes, as torchrun or SLURM started this process.

    Without either, or where `devices` was given, what was given.
    """
    from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
    from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment

    if devices == "auto" and TorchElasticEnvironment.detect():
        local = int(os.environ["LOCAL_WORLD_SIZE"])
        return str(local), int(os.environ["WORLD_SIZE"]) // local
    if devices == "auto" and SLURMEnvironment.detect():
        slurm_nodes = int(os.environ.get("SLURM_NNODES", "1"))
        return str(int(os.environ["SLURM_NTASKS"]) // slurm_nodes), slurm_nodes
    return devices, nodes


def device_count(devices: str, nodes: int) -> int:
    """How many devices `--devices` and `--nodes` mean on this machine."""
    devices, nodes = as_started(devices, nodes)
    import torch

    if devices.isdecimal():
        return int(devices) * nodes
    here = max(1, torch.cuda.device_count())
    return nodes * (here if devices in ("auto", "-1") else len(devices.split(",")))


def rank_and_ranks() -> tuple[int, int]:
    """Which of the processes that work together this is, from 0, and how many there are."""
    from torch import distributed

    if not (distributed.is_available() and distributed.is_initialized()):
        return 0, 1
    return distributed.get_rank(), distributed.get_world_size()


def gathered(value: T) -> list[T]:
    """The values of all processes that work together, in the order of their ranks."""
    from torch import distributed

    _, ranks = rank_and_ranks()
    if ranks == 1:
        return [value]
    values: list[Any] = [None] * ranks
    distributed.all_gather_object(values, value)
    return values


def of_the_first(value: T) -> T:
    """The value that the first of the processes that work together has."""
    from torch import distributed

    _, ranks = rank_and_ranks()
    if ranks == 1:
        return value
    values = [value]
    distributed.broadcast_object_list(values, src=0)
    return values[0]


def _show_only(gpu: str) -> None:
    os.environ["CUDA_VISIBLE_DEVICES"] = gpu


def _run(command: Sequence[str], gpu: str, prefix: str) -> int:
    environment = {**own_environment(), "CUDA_VISIBLE_DEVICES": gpu}
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            say(f"{prefix} {line}".removesuffix("\n"))
    return process.returncode

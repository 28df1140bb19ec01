"""Several processes: which one this is, and folds that are trained at once, each on a GPU of its own."""

import os
import subprocess
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue

RANKS = ("RANK", "LOCAL_RANK", "NODE_RANK", "GROUP_RANK", "SLURM_PROCID")


def is_first_process() -> bool:
    """Whether this is the process, of the several that train together, that prints and writes the results.

    Lightning, torchrun and SLURM say so in the environment; Lightning's own first process has none of the names.
    """
    return all(int(os.environ.get(name, 0)) == 0 for name in RANKS)


def run_on_gpus(folds: Sequence[int], gpus: Sequence[str], command: Callable[[int], Sequence[str]]) -> dict[int, int]:
    """Run a command for each fold, never two on a GPU, and print their lines with the fold in front.

    `gpus` are values for CUDA_VISIBLE_DEVICES; `command` is asked when a GPU is free. Returns the exit codes by fold.
    """
    free: SimpleQueue[str] = SimpleQueue()
    for gpu in gpus:
        free.put(gpu)

    def run(fold: int) -> int:
        gpu = free.get()
        try:
            return _run(command(fold), gpu, f"[fold {fold}]")
        finally:
            free.put(gpu)

    with ThreadPoolExecutor(len(gpus)) as pool:
        return dict(zip(folds, pool.map(run, folds), strict=True))


def visible_gpus() -> list[str]:
    """What CUDA_VISIBLE_DEVICES can be set to, so that each value shows one of the GPUs that this process sees."""
    import torch

    count = torch.cuda.device_count()
    named = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
    return named[:count] if named != [""] else [str(number) for number in range(count)]


def _run(command: Sequence[str], gpu: str, prefix: str) -> int:
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": gpu}
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            print(prefix, line, end="", flush=True)
    return process.returncode

"""How much longer a training step takes beside a busy program, with our setting of libgomp and with its own.

    python benchmarks/busy_machine.py

Forward and backward passes of preset `laptop`'s network on a CPU, in processes of their own, as libgomp reads its
settings once.
"""

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

SETTINGS = {"libgomp's": "300000", "ours": "30000"}
"""GOMP_SPINCOUNT: rounds of spinning before a thread that waits goes to sleep; the first one is libgomp's default."""


def measure(
    seconds: Annotated[float, typer.Option(help="How long each process takes steps.")] = 6.0,
    rounds: Annotated[int, typer.Option(help="How often all are measured, in turns.")] = 3,
    busy: Annotated[int, typer.Option(help="How many other programs are busy.")] = 1,
    size: Annotated[int, typer.Option(help="Sides of the photos.")] = 128,
) -> None:
    """Print the milliseconds of a step, in turns: each setting alone and beside the busy programs."""
    for _ in range(rounds):
        for others in (0, busy):
            # In sessions of their own Linux shares the processor between them and us, as between two windows.
            spinning = [
                subprocess.Popen([sys.executable, "-c", "while True: pass"], start_new_session=True)
                for _ in range(others)
            ]
            try:
                for name, count in SETTINGS.items():
                    command = [sys.executable, __file__, "steps", str(seconds), str(size)]
                    done = subprocess.run(
                        command, env={**os.environ, "GOMP_SPINCOUNT": count}, capture_output=True, text=True, check=True
                    )
                    print(f"beside {others} busy, {name} setting: {done.stdout.strip()} ms a step", flush=True)
            finally:
                for process in spinning:
                    process.kill()
                    process.wait()


def steps(seconds: float, size: int) -> None:
    """Print the milliseconds of a training step with two photos of these sides."""
    import torch

    from kaggle_tools.cli import DEFAULT_SLUG
    from kaggle_tools.config.presets import config_from
    from kaggle_tools.models.segmenter import build, design

    model = build(design(config_from("laptop", DEFAULT_SLUG, {}))).train()
    photos_B3HW = torch.rand(2, 3, size, size)
    taken, started = -3, 0.0  # the first ones are not timed
    while taken <= 0 or time.perf_counter() - started < seconds:
        if taken == 0:
            started = time.perf_counter()
        model(photos_B3HW).mean().backward()
        taken += 1
    print(f"{(time.perf_counter() - started) / taken * 1000:.0f}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["steps"]:
        steps(float(sys.argv[2]), int(sys.argv[3]))
    else:
        typer.run(measure)

import re
import subprocess
import sys
from pathlib import Path

import pytest

from kaggle_tools.competitions.toml_file import packaged_competition
from kaggle_tools.demo.draw import draw_competition

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"


@pytest.mark.slow
def test_a_step_beside_a_busy_program_can_be_measured() -> None:
    options = ["--seconds", "0.1", "--rounds", "1", "--size", "32"]
    done = subprocess.run(
        [sys.executable, BENCHMARKS / "busy_machine.py", *options], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert len(re.findall(r"^beside [01] busy, .* setting: [1-9]\d* ms a step$", done.stdout, re.MULTILINE)) == 4


@pytest.mark.slow
def test_pages_of_any_size_can_be_measured(tmp_path: Path) -> None:
    carvana = packaged_competition("carvana-image-masking-challenge")
    demo = draw_competition(tmp_path / "data", carvana, train_groups=1, test_groups=1, size=(40, 60), seed=0)
    done = subprocess.run(
        [sys.executable, BENCHMARKS / "report_scale.py", demo.folder, "--cars", "5", "--preds", "32"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    measured = [line.partition(":")[0] for line in done.stdout.splitlines()]
    assert measured == [
        *("report of one run", "one.html", "report of two runs", "two.html"),
        *("report of PRED", "pred.html", "report of PRED with saved probabilities", "probabilities.html"),
    ]

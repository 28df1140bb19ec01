from pathlib import Path

import pandas as pd
import pytest
from finished_runs import draw_photos, write_run
from known_competitions import CARVANA
from ten_cars import ERRORS

from kaggle_tools.report.parts.run import RunPart, run_part


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three folds out of four; the last holds out an eleventh car."""
    folder = tmp_path_factory.mktemp("finished")
    draw_photos(folder / "data", [stem for errors in ERRORS.values() for stem in errors])
    run = write_run(folder / "my run", folder / "data", ERRORS, folds=4)
    with (run / "folds.csv").open("a") as file:
        file.write("k_01,k,3\nk_02,k,3\n")
    return run


@pytest.fixture(scope="module")
def part(finished: Path) -> RunPart:
    return run_part(finished, CARVANA)


@pytest.fixture(scope="module")
def oof(finished: Path) -> pd.DataFrame:
    """What the folds' tables hold, with car and angle of each photo, the worst first."""
    table = pd.concat(pd.read_csv(path) for path in finished.glob("fold*/oof.csv"))
    return table.assign(group=table["image"].str[:1], view=table["image"].str[2:]).sort_values("score")

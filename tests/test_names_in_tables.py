"""Whatever a photo or a car is called, the tables read back what was written."""

import csv
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from finished_runs import draw_photos, write_pred, write_run
from hypothesis import given, settings
from hypothesis import strategies as st
from known_competitions import CARVANA

from kaggle_tools.config.presets import config_from
from kaggle_tools.data import listing
from kaggle_tools.data.checks.names import fault_of
from kaggle_tools.data.fingerprint import FileHashes, read_fingerprint, write_fingerprint
from kaggle_tools.data.images import write_mask
from kaggle_tools.errors import InputError
from kaggle_tools.results import fold_table, pred_folder, run_folder
from kaggle_tools.results.summary import write_summary
from kaggle_tools.submission.read import read_masks
from kaggle_tools.submission.write import write_submission

CARS = ["001", "1", "NA", "nan", "None", "null", "=1+1", "a,b", 'say "a"', " space ", "写真", "$x$", "<b>", "1e5"]
STEMS = [f"{car}_{angle}" for car in CARS for angle in ("01", "NA")]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    draw_photos(folder, STEMS)
    shutil.copytree(folder / "train", folder / "test")
    return folder


def test_folds_come_back_whatever_photos_and_cars_are_called(tmp_path: Path, data: Path) -> None:
    photos = listing.training_photos(CARVANA, data)
    config = config_from("seed", CARVANA.slug, {"folds": 3})
    folds = fold_table.folds_of(tmp_path, CARVANA, photos, config)
    assert sorted(folds) == sorted(STEMS)
    assert fold_table.folds_of(tmp_path, CARVANA, photos, config) == folds
    table = run_folder.read_folds(tmp_path)
    assert [CARVANA.group_and_view(stem)[0] for stem in table["image"]] == table["group"].tolist()


def test_the_score_of_every_car_is_found_whatever_it_is_called(tmp_path: Path, data: Path) -> None:
    run = write_run(tmp_path / "run", data, {0: dict.fromkeys(STEMS, (0, 0))})
    assert run_folder.read_oof(run, [0])["image"].tolist() == STEMS
    summary = write_summary(run, CARVANA)
    assert summary.score_by_group == dict.fromkeys(sorted(CARS), 1.0)
    assert summary.score_by_view == {"01": 1.0, "NA": 1.0}


def test_the_photos_of_a_folder_of_masks_come_back_whatever_they_are_called(tmp_path: Path, data: Path) -> None:
    pred = write_pred(tmp_path / "pred", data / "test", dict.fromkeys(STEMS, 600))
    assert pred_folder.photo_files(pred) == {stem: data / "test" / f"{stem}.jpg" for stem in STEMS}


def test_a_submission_holds_the_photos_of_the_sample_whatever_they_are_called(tmp_path: Path) -> None:
    with (tmp_path / "sample.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("img", "rle_mask"), *((f"{stem}.jpg", "1 1") for stem in STEMS)])
    for stem in STEMS:
        write_mask(tmp_path / "masks" / f"{stem}.png", np.eye(3, dtype=bool))
    written = write_submission(tmp_path / "masks", tmp_path / "sample.csv", tmp_path / "out.csv", CARVANA)
    assert [*written.sizes] == STEMS
    assert dict(read_masks(tmp_path / "out.csv", CARVANA)) == {f"{stem}.jpg": "1 1 5 1 9 1" for stem in STEMS}


names = st.text(min_size=1, max_size=12).filter(lambda name: not fault_of(name))


@settings(deadline=None, max_examples=30)
@given(stems=st.lists(names, min_size=1, max_size=5, unique=True))
def test_any_names_come_back_from_any_table(tmp_path_factory: pytest.TempPathFactory, stems: list[str]) -> None:
    folder = tmp_path_factory.mktemp("tables")
    table = pd.DataFrame({"image": stems, "group": stems, "fold": range(len(stems))})
    table.to_csv(folder / "folds.csv", index=False, lineterminator="\n")
    assert run_folder.read_folds(folder).to_dict("list") == table.to_dict("list")
    hashes = {stem: FileHashes("0" * 64, "1" * 64) for stem in stems}
    write_fingerprint(folder / "data.csv", hashes)
    assert read_fingerprint(folder / "data.csv") == hashes


@pytest.mark.parametrize("stem", ["/etc/passwd", "../../x", "a\0b", "a\nb", ""])
def test_a_name_in_a_table_that_leads_elsewhere_is_refused(tmp_path: Path, data: Path, stem: str) -> None:
    pred = write_pred(tmp_path / "pred", data / "test", {STEMS[0]: 600})
    with (pred / "photos.csv").open(newline="") as file:
        header, row = csv.reader(file)
    with (pred / "photos.csv").open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([header, [stem, *row[1:]]])
    with pytest.raises(InputError, match=r"photos\.csv: 1 name of a photo cannot be used: .*; the table is damaged"):
        pred_folder.read_photos(pred)
    pd.DataFrame({"image": [stem], "group": ["a"], "fold": [0]}).to_csv(tmp_path / "folds.csv", index=False)
    with pytest.raises(InputError, match=r"folds\.csv: (1 name of a photo cannot be used|damaged)"):
        run_folder.read_folds(tmp_path)


@pytest.mark.parametrize("photo_id", ["a\nb.jpg", "a\0.jpg", ".a.jpg", "..jpg"])
def test_an_id_that_cannot_be_the_name_of_a_mask_is_refused(tmp_path: Path, photo_id: str) -> None:
    with (tmp_path / "sample.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("img", "rle_mask"), (photo_id, "1 1")])
    with pytest.raises(InputError, match=r"sample\.csv, line \d: "):
        list(read_masks(tmp_path / "sample.csv", CARVANA))

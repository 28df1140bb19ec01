import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import Result
from drawn_runs import run_of_unets
from finished_runs import network
from known_competitions import CARVANA
from known_networks import CPU
from PIL import Image
from probability_folders import write_probabilities
from typer.testing import CliRunner

from kaggle_tools import __main__, cli
from kaggle_tools.commands.infer import infer
from kaggle_tools.config.presets import config_from
from kaggle_tools.data.images import read_mask, read_photo, write_gray
from kaggle_tools.data.listing import Photo
from kaggle_tools.errors import InputError
from kaggle_tools.inference.ensemble import Ensemble, load_members
from kaggle_tools.results.pred_folder import mask_path, overlay_path, probability_path
from kaggle_tools.results.run_folder import oof_probability_path, write_config
from kaggle_tools.system.files import sha256


def invoke(app: Any, *arguments: Any) -> Result:
    return CliRunner().invoke(app, list(map(str, arguments)))


def test_the_command_weights_folders_alike_or_as_its_option_says(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    Image.new("RGB", (6, 1)).save(tmp_path / "photos" / "1.png")
    noted = {"1": sha256(tmp_path / "photos" / "1.png")}  # without which no outline is drawn on it
    preds = [
        write_probabilities(tmp_path / "a", {"1": [[100, 100, 86, 84, 255, 0]]}, noted),
        write_probabilities(tmp_path / "b", {"1": [[155, 153, 255, 255, 84, 0]]}, noted),
    ]
    done = invoke(__main__.app, "blend", *preds, "--out", tmp_path / "alike", "--workers", 0)
    assert (done.exit_code, done.output.splitlines()[-1]) == (0, f"{tmp_path / 'alike'}: 1 mask")
    assert read_mask(mask_path(tmp_path / "alike", "1")).astype(int).tolist() == [[1, 0, 1, 1, 1, 0]]
    # Weighted 3 to 1, the first two pixels have 113.75 and 113.25; the threshold 0.45 is 114.75.
    options = ["--weights", "3,1", "--threshold", 0.45, "--save-probabilities", "--overlays", "--workers", 0]
    assert invoke(__main__.app, "blend", *preds, "--out", tmp_path / "weighted", *options).exit_code == 0
    assert read_mask(mask_path(tmp_path / "weighted", "1")).astype(int).tolist() == [[0, 0, 1, 1, 1, 0]]
    assert probability_path(tmp_path / "weighted", "1").exists()
    assert overlay_path(tmp_path / "weighted", "1").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--weights", "1"], "--weights 1: 2 folders need 2 weights"),
        (["--weights", "1,2,3"], "--weights 1,2,3: 2 folders need 2 weights"),
        (["--weights", "1,0"], "--weights 1,0: must be numbers above 0 with commas between them, as 0.75,1,1.25"),
        (["--weights", "1,2", "--search", "c"], "--weights and --search: give one of them"),
        (["--search", "c"], "--search: 2 folders need 2 runs, in the same order"),
        (["--threshold", "0"], "--threshold 0.0: must be between 0 and 1"),
        (["--threshold", "1"], "--threshold 1.0: must be between 0 and 1"),
    ],
)
def test_options_of_blend_that_are_not_possible_are_refused(tmp_path: Path, options: list[str], message: str) -> None:
    error = invoke(__main__.app, "blend", "a", "b", "--out", tmp_path / "out", *options).exception
    assert isinstance(error, InputError)
    assert str(error) == message


def test_a_blend_of_the_folds_is_what_infer_makes_of_both(photos: list[Photo], tmp_path: Path) -> None:
    """But for pixels whose probability is so near to the threshold that rounding to bytes may move it across."""
    run = run_of_unets(tmp_path / "run", folds=2)
    shown = tmp_path / "shown"
    shown.mkdir()
    for photo in photos[:3]:
        shutil.copy(photo.path, shown)
    options = ["--images", shown, "--threshold", 0.5, "--tta", "hflip", "--workers", 0, "--precision", "32-true"]
    for name, folds in (("0", ["--fold", 0]), ("1", ["--fold", 1]), ("both", [])):
        done = invoke(cli.app_of(infer), run, *folds, "--out", tmp_path / name, "--save-probabilities", *options)
        assert done.exit_code == 0, done.output
    done = invoke(__main__.app, "blend", tmp_path / "0", tmp_path / "1", "--out", tmp_path / "blend", "--workers", 0)
    assert done.exit_code == 0, done.output
    ensemble = Ensemble(load_members([run]), CPU, tta="hflip")
    (size,) = ensemble.input_sizes
    for photo in photos[:3]:
        pixels_13HW = torch.from_numpy(read_photo(photo.path).transpose(2, 0, 1)[None].copy())
        probability_HW = ensemble({size: pixels_13HW}, photo.size).probability_BCHW[0, 0].numpy()
        clear_HW = np.abs(probability_HW - 0.5) > 1 / 255
        blend_HW, both_HW = (read_mask(mask_path(tmp_path / name, photo.stem)) for name in ("blend", "both"))
        assert np.array_equal(blend_HW[clear_HW], both_HW[clear_HW])
        assert clear_HW.mean() > 0.9
        assert 0.2 < both_HW.mean() < 0.8
    for table in ("0", "1"):
        assert read_mask(mask_path(tmp_path / table, "0")).tolist() != both_HW.tolist()


def test_weights_are_searched_on_the_photos_that_the_runs_held_out(tmp_path: Path) -> None:
    """The first run is right on all photos of nine cars, and the second wrong, by more."""
    data, preds, runs = tmp_path / "data", [tmp_path / "pa", tmp_path / "pb"], [tmp_path / "a", tmp_path / "b"]
    stems = [f"car{number}_01" for number in range(9)]
    for folder in ("train", "train_masks"):
        (data / folder).mkdir(parents=True)
    for stem in stems:
        Image.new("RGB", (4, 2)).save(data / "train" / f"{stem}.jpg")
        mask = Image.fromarray(np.array([[255, 255, 0, 0]] * 2, dtype=np.uint8))
        mask.save(data / "train_masks" / f"{stem}_mask.gif")
    for run, pred, values in zip(runs, preds, ([188, 188, 68, 68], [8, 8, 248, 248]), strict=True):
        write_probabilities(pred, {"1": [values] * 2}, competition=CARVANA.slug, models=(network(run.name),))
        for stem in stems:
            path = oof_probability_path(run / "fold0", stem)
            path.parent.mkdir(parents=True, exist_ok=True)
            write_gray(path, np.array([values] * 2, dtype=np.uint8))
        write_config(run, config_from("demo", CARVANA.slug, {}), data, "train.py")
    options = ["--search", runs[0], "--search", runs[1], "--workers", 0]
    done = invoke(__main__.app, "blend", *preds, "--out", tmp_path / "mix", *options)
    assert done.exit_code == 0, done.output
    assert "weights 7, 3 gain 1.00000 (1.00000 to 1.00000) on 9 held-out photos" in done.output
    assert read_mask(mask_path(tmp_path / "mix", "1")).tolist() == [[True, True, False, False]] * 2
    swapped = ["--search", runs[1], "--search", runs[0]]
    error = invoke(__main__.app, "blend", *preds, "--out", tmp_path / "other", *swapped).exception
    assert str(error) == f"{preds[0]}: made by a, not by {runs[1]} alone"

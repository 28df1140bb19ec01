import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import Result
from drawn_runs import run_of_constants
from known_competitions import CARVANA
from PIL import Image
from typer.testing import CliRunner

from kaggle_tools import cli
from kaggle_tools.commands import infer
from kaggle_tools.data.images import read_gray, read_mask
from kaggle_tools.data.listing import Photo
from kaggle_tools.errors import InputError, OutOfTimeError
from kaggle_tools.inference import tta as test_time_augmentation
from kaggle_tools.models.segmenter import Architecture, Segmenter, build
from kaggle_tools.models.weights import ModelCard, save
from kaggle_tools.results.after_care import AfterCare
from kaggle_tools.results.pred_folder import mask_path, overlay_path, probability_path


@pytest.fixture
def shown(photos: list[Photo], tmp_path: Path) -> Path:
    """A folder with three photos of 20x30 and one of 7x9."""
    folder = tmp_path / "shown"
    folder.mkdir()
    for photo in photos[:3]:
        shutil.copy(photo.path, folder)
    Image.new("RGB", (9, 7)).save(folder / "small.png")
    return folder


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Two folds, with probabilities 0.8808 and 0.5 everywhere."""
    return run_of_constants(tmp_path / "run", [2, 0])


def invoke(*arguments: Any) -> Result:
    return CliRunner().invoke(cli.app_of(infer.infer), [*map(str, arguments), "--workers", "0"])


def mask(*arguments: Any) -> str:
    """What the command says; it must succeed."""
    done = invoke(*arguments)
    assert done.exit_code == 0, (done.output, done.exception)
    return done.output


def refusal(*arguments: Any) -> str:
    error = invoke(*arguments).exception
    assert isinstance(error, InputError)
    return str(error)


def record(pred: Path) -> dict[str, Any]:
    return json.loads((pred / "run.json").read_text())


class TestRefusals:
    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ([], "give either --data DIR or --images DIR: where the photos are"),
            (["--data", "a", "--images", "b"], "give either --data DIR or --images DIR: where the photos are"),
            (["--images", "a", "--weights", "1,2"], "--weights 1,2: 1 run needs 1 weight"),
            (["--images", "a", "--weights", "0"], "--weights 0: must be numbers above 0 with commas between them.*"),
            (["--images", "a", "--weights", ""], "--weights : must be numbers above 0 with commas between them.*"),
            (["--images", "a", "--tta-scales", ""], "--tta-scales : must be numbers above 0 with commas.*"),
            (["--images", "a", "--tta-scales", "1;2"], "--tta-scales 1;2: must be numbers above 0 with commas.*"),
        ],
    )
    def test_options_that_are_not_possible_are_refused_before_anything_is_read(
        self, options: list[str], message: str
    ) -> None:
        with pytest.raises(InputError, match=f"^{message}$"):
            raise_from(invoke("no run", "--out", "no pred", *options))

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            (["--batch-size", "0"], "--batch-size 0: must be a whole number above 0, or auto"),
            (["--batch-size", "all"], "--batch-size all: must be a whole number above 0, or auto"),
            (["--threshold", "1"], "--threshold 1: must be a number between 0 and 1, or auto"),
            (["--devices", "two"], "--devices two --nodes 1: .*"),
            (["--tta-scales", "1,1000"], "--tta-scales 1,1000: must be numbers above 0 and up to 4, .*"),
            (["--fold", "2"], ".*/run/fold2/model.json: missing.*"),
            (["--competition", "titanic"], "these belong to different competitions: .*: carvana.*; .*: titanic"),
        ],
    )
    def test_options_that_do_not_fit_the_run_are_refused_before_anything_is_written(
        self, run: Path, shown: Path, tmp_path: Path, options: list[str], message: str
    ) -> None:
        with pytest.raises(InputError, match=f"^{message}$"):
            raise_from(invoke(run, "--images", shown, "--out", tmp_path / "pred", *options))
        assert not (tmp_path / "pred").exists()

    def test_a_network_that_cannot_take_a_scale_is_refused_before_anything_is_written(
        self, shown: Path, tmp_path: Path
    ) -> None:
        pan = Architecture("smp:PAN/mobilenet_v2")
        save(build(pan), ModelCard(pan, (160, 240), CARVANA.slug, fold=0), tmp_path / "pan" / "fold0")
        given = (tmp_path / "pan", "--images", shown, "--out", tmp_path / "pred", "--tta-scales", "0.5,1")
        assert "smp:PAN/mobilenet_v2 cannot take 1 photo of 80x120 in evaluation (--tta-scales 0.5)" in refusal(*given)
        assert not (tmp_path / "pred").exists()

    def test_other_settings_for_a_folder_that_is_begun_are_named(self, run: Path, shown: Path, tmp_path: Path) -> None:
        given = (run, "--images", shown, "--out", tmp_path / "pred")
        mask(*given)
        for options, change in (
            (["--tta", "flips"], "tta was none, now flips"),
            (["--tta-scales", "1,0.5"], "tta_scales was [1.0], now [1.0, 0.5]"),
            (["--threshold", "0.75"], "threshold was 0.5, now 0.75"),
            (["--batch-size", "2"], "batch_size was 1, now 2"),
            (["--weights", "3"], "models[0].weight was 1.0, now 1.5; models[1].weight was 1.0, now 1.5"),
        ):
            assert f"begun with other settings ({change})" in refusal(*given, *options)


def raise_from(done: Result) -> None:
    assert done.exception is not None
    raise done.exception


class TestMasks:
    def test_all_folds_of_a_run_count_alike(self, run: Path, shown: Path, tmp_path: Path) -> None:
        said = mask(run, "--images", shown, "--out", tmp_path / "pred", "--save-probabilities")
        assert said.splitlines()[-1] == f"{tmp_path / 'pred'}: 4 masks"
        map_HW = read_gray(probability_path(tmp_path / "pred", "small"))
        assert (map_HW.shape, np.unique(map_HW).tolist()) == ((7, 9), [176])  # 255 * (0.8808 + 0.5) / 2

    @pytest.mark.parametrize(("threshold", "share"), [(0.69, 1), (0.691, 0)])
    def test_the_masks_are_cut_at_the_threshold(
        self, run: Path, shown: Path, tmp_path: Path, threshold: float, share: int
    ) -> None:
        """The probability is (0.8808 + 0.5) / 2, or 0.6904, everywhere."""
        mask(run, "--images", shown, "--out", tmp_path / "pred", "--threshold", threshold)
        assert read_mask(mask_path(tmp_path / "pred", "small")).mean() == share
        assert record(tmp_path / "pred")["threshold"] == threshold

    def test_the_option_weights_is_shared_by_the_folds_of_each_run(
        self, run: Path, shown: Path, tmp_path: Path
    ) -> None:
        """2 for each of 0.8808 and 0.5, 1 for 0.1192: 0.5762 in the mean."""
        second = run_of_constants(tmp_path / "second", [-2])
        pred = tmp_path / "pred"
        mask(run, second, "--weights", "4,1", "--images", shown, "--out", pred, "--save-probabilities")
        assert np.unique(read_gray(probability_path(pred, "0"))).tolist() == [147]
        models = [(model["run"], model["fold"], model["weight"]) for model in record(pred)["models"]]
        assert models == [("run", 0, 2), ("run", 1, 2), ("second", 0, 1)]

    def test_a_single_fold_can_mask_the_photos(self, run: Path, shown: Path, tmp_path: Path) -> None:
        mask(run, "--fold", 0, "--images", shown, "--out", tmp_path / "pred", "--save-probabilities")
        assert np.unique(read_gray(probability_path(tmp_path / "pred", "0"))).tolist() == [225]  # 255 * 0.8808

    def test_a_fold_that_is_not_trained_to_the_end_is_left_out_by_name(
        self, run: Path, shown: Path, tmp_path: Path
    ) -> None:
        begun = shutil.copytree(run, tmp_path / "begun")
        for fold in (7, 8):
            (begun / f"fold{fold}").mkdir()
            (begun / f"fold{fold}" / "metrics.csv").touch()
        said = f"{begun}: folds 7, 8 are not trained to the end, and left out"
        assert said in mask(begun, "--images", shown, "--out", tmp_path / "pred")
        assert "left out" not in mask(begun, "--images", shown, "--out", tmp_path / "first", "--fold", 0)

    def test_nothing_is_written_beside_the_masks_that_was_not_asked_for(
        self, run: Path, shown: Path, tmp_path: Path
    ) -> None:
        mask(run, "--images", shown, "--out", tmp_path / "pred", "--no-report")
        assert {path.name for path in (tmp_path / "pred").iterdir()} == {
            *("masks", "competition.json", "run.json", "photos.csv", ".process0.lock")
        }

    def test_a_page_shows_the_masks(self, run: Path, shown: Path, tmp_path: Path) -> None:
        said = mask(run, "--images", shown, "--out", tmp_path / "pred")
        page = tmp_path / "pred" / "report.html"
        assert f"page: {page}" in said
        assert "Masks in <bdi>pred</bdi>" in page.read_text()

    def test_outlines_of_masks_may_be_drawn(self, run: Path, shown: Path, tmp_path: Path) -> None:
        mask(run, "--images", shown, "--out", tmp_path / "pred", "--overlays")
        with Image.open(overlay_path(tmp_path / "pred", "small")) as image:
            assert (image.format, image.size) == ("JPEG", (9, 7))

    def test_run_json_is_enough_to_repeat_the_masks(self, run: Path, shown: Path, tmp_path: Path) -> None:
        pred = tmp_path / "pred"
        size = ["--batch-size", 2, "--tta-scales", "0.5,1", "--precision", "32-true"]
        mask(run, "--fold", 1, "--images", shown, "--out", pred, *size)
        (model,) = record(pred).pop("models")
        assert {name: value for name, value in record(pred).items() if name != "models"} == {
            "competition": CARVANA.slug,
            "photos": str(shown),
            "tta": "none",
            "tta_scales": [0.5, 1.0],
            "threshold": 0.5,
            "batch_size": 2,
            "precision": "32-true",
            "count": 4,
            "sizes": {"7x9": 1, "20x30": 3},
            "cross_validation": [],
            "estimate": {"unavailable": f"there are no out-of-fold photos in {run}"},
        }
        assert len(model.pop("sha256")) == 64
        assert model == {"run": "run", "fold": 1, "model": "unet", "image_size": None, "weight": 1.0}

    def test_the_test_photos_of_the_data_are_masked(self, run: Path, shown: Path, tmp_path: Path) -> None:
        (tmp_path / "data" / "test").mkdir(parents=True)
        with Image.open(shown / "0.png") as image:
            image.save(tmp_path / "data" / "test" / "a_01.jpg")
        mask(run, "--data", tmp_path / "data", "--out", tmp_path / "pred")
        assert [path.name for path in (tmp_path / "pred" / "masks").iterdir()] == ["a_01.png"]

    def test_networks_are_compiled_with_the_option_compile(
        self, run: Path, shown: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        compiled: list[Segmenter] = []
        monkeypatch.setattr(Segmenter, "compile", lambda model: compiled.append(model))
        mask(run, "--images", shown, "--out", tmp_path / "plain")
        assert compiled == []
        mask(run, "--images", shown, "--out", tmp_path / "compiled", "--compile")
        assert len(compiled) == 2

    def test_photos_that_cannot_be_read_are_named_until_they_are_mended(
        self, run: Path, shown: Path, tmp_path: Path
    ) -> None:
        given = (run, "--images", shown, "--out", tmp_path / "pred")
        contents = {name: (shown / name).read_bytes() for name in ("1.png", "2.png")}
        (shown / "1.png").write_bytes(contents["1.png"][:200])
        (shown / "2.png").write_bytes(b"no header")
        lines = refusal(*given).splitlines()
        assert lines[0] == "2 photos could not be masked; repair them, and the same command continues:"
        assert lines[1].startswith(f"  {shown / '1.png'}: ")
        assert lines[2].startswith(f"  {shown / '2.png'}: ")
        assert record(tmp_path / "pred")["count"] == 2
        for name, content in contents.items():
            (shown / name).write_bytes(content)
        assert "2 of 4 photos to mask" in mask(*given)
        assert record(tmp_path / "pred")["count"] == 4

    def test_a_photo_that_was_replaced_is_masked_anew(self, run: Path, shown: Path, tmp_path: Path) -> None:
        given = (run, "--images", shown, "--out", tmp_path / "pred")
        mask(*given)
        Image.new("RGB", (11, 5)).save(shown / "1.png")
        assert "made anew, as their photos changed: 1 mask (1)\n" in mask(*given)
        assert read_mask(mask_path(tmp_path / "pred", "1")).shape == (5, 11)
        assert record(tmp_path / "pred")["sizes"] == {"5x11": 1, "7x9": 1, "20x30": 2}

    def test_infer_stops_after_max_hours_and_goes_on_when_run_again(
        self, run: Path, shown: Path, tmp_path: Path
    ) -> None:
        given = (run, "--images", shown, "--out", tmp_path / "pred")
        assert isinstance(invoke(*given, "--max-hours", 0).exception, OutOfTimeError)
        assert record(tmp_path / "pred")["count"] is None
        assert "3 of 4 photos to mask" in mask(*given, "--max-hours", 1)
        assert record(tmp_path / "pred")["count"] == 4


class TestTta:
    def test_the_tta_reaches_the_networks_and_the_record(
        self, shown: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        seen = []
        flip_mean = test_time_augmentation.flip_mean

        def watched(model: Any, photos_B3HW: torch.Tensor, tta: Any, half: Any) -> torch.Tensor:
            seen.append((tuple(photos_B3HW.shape[-2:]), tta))
            return flip_mean(model, photos_B3HW, tta, half)

        monkeypatch.setattr(test_time_augmentation, "flip_mean", watched)
        run = run_of_constants(tmp_path / "run", [0], tta="hflip", tta_scales=(0.5, 1.0), image_size=(16, 24))
        mask(run, "--images", shown, "--out", tmp_path / "own")
        assert set(seen) == {((8, 12), "hflip"), ((16, 24), "hflip")}
        assert (record(tmp_path / "own")["tta"], record(tmp_path / "own")["tta_scales"]) == ("hflip", [0.5, 1.0])
        seen.clear()
        mask(run, "--images", shown, "--out", tmp_path / "given", "--tta", "flips", "--tta-scales", "1.25")
        assert set(seen) == {((20, 30), "flips")}


class TestBatchSize:
    def test_a_batch_size_that_is_given_replaces_that_with_which_no_mask_was_made(
        self, run: Path, shown: Path, tmp_path: Path
    ) -> None:
        given = (run, "--images", shown, "--out", tmp_path / "pred")
        mask(*given, "--batch-size", 3)
        for path in (tmp_path / "pred" / "masks").iterdir():
            path.unlink()
        mask(*given, "--batch-size", 2)
        assert record(tmp_path / "pred")["batch_size"] == 2

    def test_a_folder_is_continued_with_its_batch_size(self, run: Path, shown: Path, tmp_path: Path) -> None:
        given = (run, "--images", shown, "--out", tmp_path / "pred")
        mask(*given, "--batch-size", 2)
        mask_path(tmp_path / "pred", "1").unlink()
        assert "2 of 4 photos to mask with 2 networks" in mask(*given)


class TestThreshold:
    def test_without_out_of_fold_photos_the_threshold_is_one_half_and_the_output_says_why(
        self, run: Path, shown: Path, tmp_path: Path
    ) -> None:
        said = mask(run, "--images", shown, "--out", tmp_path / "pred")
        assert said.startswith(f"threshold: 0.5, as the best is not known: there are no out-of-fold photos in {run}\n")

    def test_the_threshold_of_a_mix_without_saved_probabilities_is_one_half(
        self, run: Path, shown: Path, tmp_path: Path
    ) -> None:
        said = mask(run, run, "--images", shown, "--out", tmp_path / "pred")
        assert "not all runs of the mix were trained with --save-oof-probabilities\n" in said
        assert record(tmp_path / "pred")["threshold"] == 0.5

    def test_nothing_is_printed_of_the_best_threshold_where_one_is_given(
        self, run: Path, shown: Path, tmp_path: Path
    ) -> None:
        assert "threshold:" not in mask(run, "--images", shown, "--out", tmp_path / "pred", "--threshold", 0.25)

    def test_of_several_processes_only_the_first_says_why_the_threshold_is_one_half(
        self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("LOCAL_RANK", "1")
        assert infer.plain_care("nobody knows") == AfterCare(0.5)
        assert capsys.readouterr().out == ""


class TestDamagedHeldOutPhotos:
    @pytest.fixture
    def damaged(self, run: Path) -> Path:
        """A run whose first fold is finished, but whose histograms are damaged."""
        (run / "fold0" / "oof.csv").write_text("image,fold,score,dice,iou\na_01,0,0.5,0.5,0.4\n")
        (run / "fold0" / "oof_histograms.npz").write_bytes(b"")
        return run

    def test_damaged_held_out_photos_are_refused_where_they_decide_the_threshold(
        self, damaged: Path, shown: Path, tmp_path: Path
    ) -> None:
        said = refusal(damaged, "--images", shown, "--out", tmp_path / "pred")
        assert f"{damaged / 'fold0' / 'oof_histograms.npz'}: damaged" in said
        assert not (tmp_path / "pred").exists()

    def test_damaged_held_out_photos_with_a_threshold_given_leave_only_the_expected_score_unknown(
        self, damaged: Path, shown: Path, tmp_path: Path
    ) -> None:
        pred = tmp_path / "pred"
        assert f"{pred}: 4 masks" in mask(damaged, "--images", shown, "--out", pred, "--threshold", 0.25)
        assert record(pred)["cross_validation"] == []
        assert "oof_histograms.npz: damaged" in record(pred)["estimate"]["unavailable"]


class TestReport:
    def test_infer_says_how_many_masks_there_are(self, capsys: pytest.CaptureFixture[str]) -> None:
        infer.print_result(Path("pred"), 1234, [])
        assert capsys.readouterr().out == "pred: 1,234 masks\n"

    def test_photos_that_could_not_be_read_are_named_in_order(self, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(InputError) as raised:
            infer.print_result(Path("pred"), 3, ["b.jpg: broken", "a.jpg: broken"])
        assert str(raised.value).splitlines() == [
            "2 photos could not be masked; repair them, and the same command continues:",
            "  a.jpg: broken",
            "  b.jpg: broken",
        ]
        assert capsys.readouterr().out == "pred: 3 masks\n"

    def test_of_many_photos_that_could_not_be_read_only_some_are_named(self) -> None:
        with pytest.raises(InputError) as raised:
            infer.print_result(Path("pred"), 3, [f"{number:04}" for number in range(1011)])
        said = str(raised.value).splitlines()
        assert said[0].startswith("1,011 photos could not be masked")
        assert [line.strip() for line in said[1:]] == [*(f"{number:04}" for number in range(10)), "and 1,001 more"]


def test_photos_in_subfolders_are_not_left_out_without_a_word(run: Path, shown: Path, tmp_path: Path) -> None:
    (shown / "more").mkdir()
    shutil.copy(shown / "0.png", shown / "more")
    done = invoke(run, "--images", shown, "--out", tmp_path / "pred", "--threshold", "0.6", "--no-report")
    assert done.exit_code == 0
    assert f"warning: {shown}: subfolders are not searched; photos in more are left out" in done.stderr
    assert mask_path(tmp_path / "pred", "0").exists()

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import Result
from drawn_runs import run_of_constants
from known_networks import CPU, Constant, card_of, member
from PIL import Image
from typer.testing import CliRunner

from kaggle_tools import cli
from kaggle_tools.commands import infer
from kaggle_tools.competition import CARVANA, Competition
from kaggle_tools.data.images import read_gray, read_mask, write_gray, write_mask
from kaggle_tools.data.listing import Photo
from kaggle_tools.errors import InputError, OutOfTimeError
from kaggle_tools.inference import ensemble, out_of_fold, predict
from kaggle_tools.inference.ensemble import Ensemble, Member
from kaggle_tools.models.segmenter import Segmenter
from kaggle_tools.results.pred_folder import mask_path, overlay_path, probability_path

pytestmark = pytest.mark.usefixtures("one_thread")


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
            (["--images", "a", "--weights", "1,2"], "--weights 1,2: 1 runs need 1 weights"),
            (["--images", "a", "--weights", "0"], "--weights 0: must be numbers above 0 with commas between them.*"),
            (["--images", "a", "--tta-scales", "1;2"], "--tta-scales 1;2: must be numbers above 0 with commas.*"),
        ],
    )
    def test_options_that_cannot_be_are_refused_before_anything_is_read(self, options: list[str], message: str) -> None:
        with pytest.raises(InputError, match=f"^{message}$"):
            raise_from(invoke("no run", "--out", "no pred", *options))

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            (["--batch-size", "0"], "--batch-size 0: must be a whole number above 0, or auto"),
            (["--batch-size", "all"], "--batch-size all: must be a whole number above 0, or auto"),
            (["--threshold", "1"], "--threshold 1: must be a number between 0 and 1, or auto"),
            (["--devices", "two"], "--devices two --nodes 1: .*"),
            (["--fold", "2"], ".*/run/fold2/model.json: missing.*"),
            (["--competition", "titanic"], "these belong to different competitions: .*: carvana.*; .*: titanic"),
        ],
    )
    def test_and_others_before_anything_is_written(
        self, run: Path, shown: Path, tmp_path: Path, options: list[str], message: str
    ) -> None:
        with pytest.raises(InputError, match=f"^{message}$"):
            raise_from(invoke(run, "--images", shown, "--out", tmp_path / "pred", *options))
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
    def test_all_folds_count_alike(self, run: Path, shown: Path, tmp_path: Path) -> None:
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

    def test_the_folds_of_a_run_share_its_weight(self, run: Path, shown: Path, tmp_path: Path) -> None:
        """2 for each of 0.8808 and 0.5, 1 for 0.1192: 0.5762 in the mean."""
        second = run_of_constants(tmp_path / "second", [-2])
        pred = tmp_path / "pred"
        mask(run, second, "--weights", "4,1", "--images", shown, "--out", pred, "--save-probabilities")
        assert np.unique(read_gray(probability_path(pred, "0"))).tolist() == [147]
        models = [(model["run"], model["fold"], model["weight"]) for model in record(pred)["models"]]
        assert models == [("run", 0, 2), ("run", 1, 2), ("second", 0, 1)]

    def test_one_fold_may_do(self, run: Path, shown: Path, tmp_path: Path) -> None:
        mask(run, "--fold", 0, "--images", shown, "--out", tmp_path / "pred", "--save-probabilities")
        assert np.unique(read_gray(probability_path(tmp_path / "pred", "0"))).tolist() == [225]  # 255 * 0.8808

    def test_nothing_lies_beside_the_masks_that_was_not_asked_for(self, run: Path, shown: Path, tmp_path: Path) -> None:
        mask(run, "--images", shown, "--out", tmp_path / "pred", "--no-report")
        assert {path.name for path in (tmp_path / "pred").iterdir()} == {
            *("masks", "run.json", "photos.csv", ".process0.lock")
        }

    def test_a_page_shows_them(self, run: Path, shown: Path, tmp_path: Path) -> None:
        said = mask(run, "--images", shown, "--out", tmp_path / "pred")
        page = tmp_path / "pred" / "report.html"
        assert f"page: {page}" in said
        assert "Masks in pred" in page.read_text()

    def test_outlines_may_be_drawn(self, run: Path, shown: Path, tmp_path: Path) -> None:
        mask(run, "--images", shown, "--out", tmp_path / "pred", "--overlays")
        with Image.open(overlay_path(tmp_path / "pred", "small")) as image:
            assert (image.format, image.size) == ("JPEG", (9, 7))

    def test_the_record_is_enough_to_repeat_them(self, run: Path, shown: Path, tmp_path: Path) -> None:
        pred = tmp_path / "pred"
        mask(run, "--fold", 1, "--images", shown, "--out", pred, "--batch-size", 2, "--tta-scales", "0.5,1")
        (model,) = record(pred).pop("models")
        assert {name: value for name, value in record(pred).items() if name != "models"} == {
            "competition": CARVANA.slug,
            "photos": str(shown),
            "tta": "none",
            "tta_scales": [0.5, 1.0],
            "threshold": 0.5,
            "batch_size": 2,
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

    def test_the_networks_are_compiled_where_that_is_asked_for(
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
        assert lines[0] == "2 photos could not be masked; mend them, and the same command goes on:"
        assert lines[1].startswith(f"  {shown / '1.png'}: ")
        assert lines[2].startswith(f"  {shown / '2.png'}: ")
        assert record(tmp_path / "pred")["count"] == 2
        for name, content in contents.items():
            (shown / name).write_bytes(content)
        assert "2 of 4 photos to mask" in mask(*given)
        assert record(tmp_path / "pred")["count"] == 4

    def test_out_of_time_it_stops_and_says_so(self, run: Path, shown: Path, tmp_path: Path) -> None:
        given = (run, "--images", shown, "--out", tmp_path / "pred")
        assert isinstance(invoke(*given, "--max-hours", 0).exception, OutOfTimeError)
        assert record(tmp_path / "pred")["count"] is None
        assert "3 of 4 photos to mask" in mask(*given, "--max-hours", 1)
        assert record(tmp_path / "pred")["count"] == 4


def members_with(*ttas: tuple[str, tuple[float, ...]]) -> list[Member]:
    return [Member(None, card_of(None, tta=tta, tta_scales=scales), Path("fold0")) for tta, scales in ttas]  # type: ignore[arg-type]


class TestTta:
    def test_it_is_that_of_the_out_of_fold_photos(self, capsys: pytest.CaptureFixture[str]) -> None:
        members = members_with(("flips", (0.75, 1.0)), ("flips", (0.75, 1.0)))
        assert infer.choose_tta(None, None, members) == ("flips", (0.75, 1.0))
        assert infer.choose_tta("flips", (0.75, 1.0), members) == ("flips", (0.75, 1.0))
        assert capsys.readouterr().out == ""

    @pytest.mark.parametrize(
        ("tta", "scales", "chosen"),
        [
            ("none", None, ("none", (0.75, 1.0))),
            (None, (1.25,), ("flips", (1.25,))),
            ("hflip", (1.0,), ("hflip", (1.0,))),
        ],
    )
    def test_what_is_given_counts_and_is_noted_as_another(
        self, tta: Any, scales: Any, chosen: tuple, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert infer.choose_tta(tta, scales, members_with(("flips", (0.75, 1.0)))) == chosen
        assert capsys.readouterr().out == "note: the score of the run, and its threshold, are of another TTA\n"

    def test_of_several_processes_only_the_first_notes_it(
        self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("LOCAL_RANK", "1")
        assert infer.choose_tta("none", None, members_with(("flips", (1.0,)))) == ("none", (1.0,))
        assert capsys.readouterr().out == ""

    @pytest.mark.parametrize("other", [("none", (1.0,)), ("flips", (0.5, 1.0))])
    def test_runs_that_were_scored_with_different_ones_need_it_given(self, other: tuple) -> None:
        members = members_with(("flips", (1.0,)), other)
        for tta, scales in ((None, None), ("none", None), (None, (1.0,))):
            with pytest.raises(InputError, match="scored with different TTA; give --tta and --tta-scales$"):
                infer.choose_tta(tta, scales, members)  # type: ignore[arg-type]
        assert infer.choose_tta("none", (1.0, 2.0), members) == ("none", (1.0, 2.0))

    def test_it_reaches_the_networks_and_the_record(
        self, shown: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        seen = []
        flip_mean = ensemble.flip_mean

        def watched(model: Any, photos_B3HW: torch.Tensor, tta: Any) -> torch.Tensor:
            seen.append((tuple(photos_B3HW.shape[-2:]), tta))
            return flip_mean(model, photos_B3HW, tta)

        monkeypatch.setattr(ensemble, "flip_mean", watched)
        run = run_of_constants(tmp_path / "run", [0], tta="hflip", tta_scales=(0.5, 1.0), image_size=(16, 24))
        mask(run, "--images", shown, "--out", tmp_path / "own")
        assert set(seen) == {((8, 12), "hflip"), ((16, 24), "hflip")}
        assert (record(tmp_path / "own")["tta"], record(tmp_path / "own")["tta_scales"]) == ("hflip", [0.5, 1.0])
        seen.clear()
        mask(run, "--images", shown, "--out", tmp_path / "given", "--tta", "flips", "--tta-scales", "1.25")
        assert set(seen) == {((20, 30), "flips")}


class TestBatchSize:
    ONE = Ensemble([member(Constant(0))], CPU, tta="none")

    def test_what_is_given_counts(self, tmp_path: Path) -> None:
        (tmp_path / "run.json").write_text('{"competition": "x", "batch_size": 6}')
        assert infer.choose_batch_size("3", tmp_path, self.ONE, []) == 3

    def test_or_what_the_folder_was_begun_with(self, tmp_path: Path) -> None:
        (tmp_path / "run.json").write_text('{"competition": "x", "batch_size": 6}')
        assert infer.choose_batch_size("auto", tmp_path, self.ONE, []) == 6

    def test_or_what_fits(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        assert infer.choose_batch_size("auto", tmp_path, self.ONE, []) == 1
        monkeypatch.setattr(predict, "batch_size_that_fits", lambda *_: 8)
        assert infer.choose_batch_size("auto", tmp_path, self.ONE, []) == 8

    def test_of_several_processes_the_smallest(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("kaggle_tools.system.processes.gathered", lambda value: [4, value, 2])
        assert infer.choose_batch_size("auto", tmp_path, self.ONE, []) == 1
        monkeypatch.setattr(predict, "batch_size_that_fits", lambda *_: 8)
        assert infer.choose_batch_size("auto", tmp_path, self.ONE, []) == 2

    def test_a_folder_is_continued_with_its_own(self, run: Path, shown: Path, tmp_path: Path) -> None:
        given = (run, "--images", shown, "--out", tmp_path / "pred")
        mask(*given, "--batch-size", 2)
        mask_path(tmp_path / "pred", "1").unlink()
        assert "2 of 4 photos to mask with 2 networks" in mask(*given)


class TestThreshold:
    def test_what_is_given_counts(self, tiles: Competition) -> None:
        assert infer.choose_threshold("0.25", [Path("run")], None, None, tiles, None) == 0.25

    def test_without_out_of_fold_photos_it_is_one_half(
        self, run: Path, tiles: Competition, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert infer.choose_threshold("auto", [run], None, None, tiles, None) == 0.5
        assert capsys.readouterr().out == (
            f"threshold: 0.5, as the best is not known: there are no out-of-fold photos in {run}\n"
        )

    def test_of_several_processes_only_the_first_says_so(
        self, run: Path, tiles: Competition, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("LOCAL_RANK", "1")
        assert infer.choose_threshold("auto", [run], None, None, tiles, None) == 0.5
        assert capsys.readouterr().out == ""

    def test_of_a_mix_without_saved_probabilities_it_is_one_half(
        self, run: Path, tiles: Competition, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert infer.choose_threshold("auto", [run, run], None, None, tiles, None) == 0.5
        assert "not all runs of the mix were trained with --save-oof-probabilities" in capsys.readouterr().out


class TestThresholdOfAMix:
    """Two runs, of two folds and of one, and one photo that both held out: its first half is foreground."""

    @pytest.fixture
    def data(self, tmp_path: Path) -> Path:
        folder = tmp_path / "data"
        for name in ("images", "masks"):
            (folder / name).mkdir(parents=True)
        Image.new("RGB", (4, 1)).save(folder / "images" / "7.png")
        write_mask(folder / "masks" / "7.png", np.array([[1, 1, 0, 0]], dtype=bool))
        return folder

    @pytest.fixture
    def runs(self, data: Path, tmp_path: Path) -> list[Path]:
        runs = [run_of_constants(tmp_path / "a", [0, 0]), run_of_constants(tmp_path / "b", [0])]
        for run, map_HW in zip(runs, ([[80, 255, 60, 0]], [[20, 155, 20, 40]]), strict=True):
            write_gray(out_of_fold.probability_path(run / "fold0", "7"), np.array(map_HW, dtype=np.uint8))
            (run / "config.json").write_text(json.dumps({"settings": {}, "data": str(data)}))
        return runs

    @pytest.mark.parametrize(
        ("folds", "weights", "foreground"),
        [
            (None, None, 60),  # by their networks, 2 to 1: 60 over 46.7
            ([0], None, 50),  # 1 to 1: 50 over 40
            (None, (3.0, 1.0), 65),  # 65 over 50
        ],
    )
    def test_it_is_that_of_the_mean_weighted_as_the_masks_are(
        self, runs: list[Path], tiles: Competition, folds: list[int] | None, weights: Any, foreground: int
    ) -> None:
        """As many of 256 bins: the highest with all of the foreground, and so the nearest to one half."""
        threshold = infer.choose_threshold("auto", runs, folds, weights, tiles, None)
        assert threshold == foreground / 256

    def test_the_true_masks_may_lie_in_data_where_the_run_was_trained_elsewhere(
        self, runs: list[Path], data: Path, tiles: Competition
    ) -> None:
        (runs[0] / "config.json").write_text(json.dumps({"settings": {}, "data": "/elsewhere"}))
        assert infer.choose_threshold("auto", runs, None, None, tiles, data) == 60 / 256
        with pytest.raises(InputError, match="^/elsewhere/images"):
            infer.choose_threshold("auto", runs, None, None, tiles, None)


class TestReport:
    def test_it_says_how_many_masks_there_are(self, capsys: pytest.CaptureFixture[str]) -> None:
        infer.report(Path("pred"), 1234, [])
        assert capsys.readouterr().out == "pred: 1,234 masks\n"

    def test_photos_that_could_not_be_read_are_named_in_order(self, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(InputError) as raised:
            infer.report(Path("pred"), 3, ["b.jpg: broken", "a.jpg: broken"])
        assert str(raised.value).splitlines() == [
            "2 photos could not be masked; mend them, and the same command goes on:",
            "  a.jpg: broken",
            "  b.jpg: broken",
        ]
        assert capsys.readouterr().out == "pred: 3 masks\n"

    def test_of_many_only_some_are_named(self) -> None:
        with pytest.raises(InputError) as raised:
            infer.report(Path("pred"), 3, [f"{number:04}" for number in range(1011)])
        said = str(raised.value).splitlines()
        assert said[0].startswith("1,011 photos could not be masked")
        assert [line.strip() for line in said[1:]] == [*(f"{number:04}" for number in range(10)), "and 1,001 more"]

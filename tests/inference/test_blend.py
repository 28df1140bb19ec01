import csv
import json
import shutil
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from finished_runs import network
from known_competitions import CARVANA
from PIL import Image
from probability_folders import write_probabilities

from kaggle_tools.data.images import read_gray, read_mask, read_photo, write_gray
from kaggle_tools.errors import InputError
from kaggle_tools.inference.blend import blend_folders
from kaggle_tools.results import pred_folder
from kaggle_tools.results.pred_folder import Outputs, mask_path, probability_path
from kaggle_tools.results.scores import Estimate, ExpectedScore, ValidatedRun
from kaggle_tools.system.files import sha256

MASK_ALONE = Outputs()
THREE = {"1": [[200, 0]], "2": [[0, 200]], "3": [[200, 200]]}
ONE, OTHER = [[100, 100, 86, 84, 255, 0]], [[155, 153, 255, 255, 84, 0]]


def blended(
    preds: Sequence[Path],
    out: Path,
    weights: Sequence[float] | None = None,
    *,
    threshold: float = 0.5,
    workers: int = 0,
) -> int:
    return blend_folders(
        preds, weights or [1.0] * len(preds), out, CARVANA, MASK_ALONE, threshold=threshold, workers=workers
    )


def refusal(preds: Sequence[Path], out: Path, weights: Sequence[float] | None = None, **options: Any) -> str:
    with pytest.raises(InputError) as raised:
        blended(preds, out, weights, **options)
    if raised.value.__cause__:  # keeps the workers in a cycle; those that the garbage collector ends take 5 seconds
        traceback.clear_frames(raised.value.__cause__.__traceback__)
    return str(raised.value)


def mask_of(pred: Path, stem: str) -> list[list[int]]:
    return read_mask(mask_path(pred, stem)).astype(int).tolist()


def files_of(pred: Path) -> dict[str, bytes]:
    files = (path for path in pred.rglob("*") if path.is_file() and path.suffix != ".lock")
    return {path.relative_to(pred).as_posix(): path.read_bytes() for path in files}


class TestMean:
    @pytest.fixture
    def preds(self, tmp_path: Path) -> list[Path]:
        return [write_probabilities(tmp_path / "a", {"1": ONE}), write_probabilities(tmp_path / "b", {"1": OTHER})]

    @pytest.mark.parametrize(
        ("weights", "mask"),
        [
            ([1, 1], [[1, 0, 1, 1, 1, 0]]),  # 127.5 126.5 170.5 169.5 169.5 0
            ([3, 1], [[0, 0, 1, 0, 1, 0]]),  # 113.75 113.25 128.25 126.75 212.25 0
            ([1, 3], [[1, 1, 1, 1, 0, 0]]),  # 141.25 139.75 212.75 212.25 126.75 0
            ([0.75, 0.25], [[0, 0, 1, 0, 1, 0]]),
        ],
    )
    def test_probabilities_are_averaged_by_the_weights_of_their_folders(
        self, preds: list[Path], tmp_path: Path, weights: list[float], mask: list
    ) -> None:
        assert blended(preds, tmp_path / "out", weights) == 1
        assert mask_of(tmp_path / "out", "1") == mask

    def test_a_map_that_is_shifted_by_one_pixel_changes_the_mask(self, tmp_path: Path) -> None:
        """Foreground has 200, the rest 40: where only one of them has foreground the mean is 120."""
        box = np.full((4, 7), 40, dtype=np.uint8)
        box[1:3, 2:5] = 200
        first, second = write_probabilities(tmp_path / "a", {"1": box}), write_probabilities(tmp_path / "b", {"1": box})
        shifted = write_probabilities(tmp_path / "c", {"1": np.roll(box, 1, axis=1)})
        blended([first, second], tmp_path / "same")
        blended([first, shifted], tmp_path / "shifted")
        assert mask_of(tmp_path / "same", "1")[1] == [0, 0, 1, 1, 1, 0, 0]
        assert mask_of(tmp_path / "shifted", "1") == [[0] * 7, [0, 0, 0, 1, 1, 0, 0], [0, 0, 0, 1, 1, 0, 0], [0] * 7]

    def test_foreground_has_at_least_the_threshold(self, tmp_path: Path) -> None:
        """102 of 255 are 0.4."""
        preds = [
            write_probabilities(tmp_path / "a", {"1": [[100, 100]]}),
            write_probabilities(tmp_path / "b", {"1": [[104, 103]]}),
        ]
        blended(preds, tmp_path / "out", threshold=0.4)
        assert mask_of(tmp_path / "out", "1") == [[1, 0]]

    def test_the_mean_probabilities_may_be_kept(self, preds: list[Path], tmp_path: Path) -> None:
        blend_folders(preds, [3, 1], tmp_path / "out", CARVANA, Outputs(probabilities=True), threshold=0.5, workers=0)
        assert read_gray(probability_path(tmp_path / "out", "1")).tolist() == [[114, 113, 128, 127, 212, 0]]

    def test_outlines_of_a_blend_may_be_drawn(self, tmp_path: Path) -> None:
        preds = self.of_noted_photos(tmp_path)
        blend_folders(preds, [1, 1], tmp_path / "out", CARVANA, Outputs(overlays=True), threshold=0.5, workers=0)
        assert read_photo(pred_folder.overlay_path(tmp_path / "out", "1")).shape == (1, 6, 3)

    @pytest.mark.parametrize(("noted", "said"), [("", "by their paths alone"), ("a" * 64, "is of other photos")])
    def test_outlines_are_drawn_on_no_photo_but_the_one_that_was_masked(
        self, noted: str, said: str, tmp_path: Path
    ) -> None:
        """A stranger's photos.csv could name any picture of this machine."""
        preds = self.of_noted_photos(tmp_path, noted)
        with pytest.raises(InputError, match=said):
            blend_folders(preds, [1, 1], tmp_path / "out", CARVANA, Outputs(overlays=True), threshold=0.5, workers=0)
        assert not (tmp_path / "out").exists()

    def of_noted_photos(self, folder: Path, noted: str | None = None) -> list[Path]:
        """Two folders whose maps note the photo that is there, or another one."""
        photo = folder / "photos" / "1.png"
        photo.parent.mkdir()
        Image.new("RGB", (6, 1)).save(photo)
        hashes = {"1": sha256(photo) if noted is None else noted}
        return [
            write_probabilities(folder / name, {"1": map_HW}, hashes)
            for name, map_HW in zip("ab", (ONE, OTHER), strict=True)
        ]

    def test_the_numbers_in_photos_csv_are_those_of_a_mean_of_networks(self, preds: list[Path], tmp_path: Path) -> None:
        """In the mask are 4 pixels, 5 are doubtful; one folder votes for the fifth, the other for the first four."""
        blended(preds, tmp_path / "out")
        with (tmp_path / "out" / "photos.csv").open() as file:
            (row,) = csv.DictReader(file)
        assert (row["image"], row["file"]) == ("1", str(tmp_path / "photos" / "1.png"))
        assert float(row["area"]) == pytest.approx(4 / 6, abs=1e-6)
        inside = (127.5 + 170.5 + 169.5 + 169.5) / 255
        assert float(row["expected_dice"]) == pytest.approx(2 * inside / (4 + inside + 126.5 / 255), abs=1e-6)
        assert float(row["border_width"]) == pytest.approx(5 / 3, abs=1e-6)
        votes, votes_inside = 1 + 4, 1 + 3
        assert float(row["agreement"]) == pytest.approx(2 * votes_inside / (votes + 2 * 4), abs=1e-6)


def test_photos_of_several_sizes_are_blended_each_with_its_own(tmp_path: Path) -> None:
    preds = [
        write_probabilities(tmp_path / "a", {"2": [[255], [0]], "10": [[0, 100, 255]]}),
        write_probabilities(tmp_path / "b", {"10": [[0, 155, 0]], "2": [[0], [0]]}),
    ]
    assert blended(preds, tmp_path / "out", workers=1) == 2
    assert (mask_of(tmp_path / "out", "2"), mask_of(tmp_path / "out", "10")) == ([[1], [0]], [[0, 1, 1]])
    assert pred_folder.read_record(tmp_path / "out").sizes == {"1x3": 1, "2x1": 1}


def test_run_json_says_what_was_blended(tmp_path: Path) -> None:
    score = ValidatedRun("a", (0, 1), "IoU", Estimate(0.9, (0.8, 0.95)))
    scored = {"cross_validation": (score,), "expected": ExpectedScore(Estimate(0.9, None))}
    preds = [
        write_probabilities(tmp_path / "a", {"1": [[0]]}, tta_scales=(0.5,), **scored),
        write_probabilities(tmp_path / "b", {"1": [[0]]}, **scored),
    ]
    blended(preds, tmp_path / "out", [2, 1], threshold=0.25)
    assert json.loads((tmp_path / "out" / "run.json").read_text()) == {
        "competition": CARVANA.slug,
        "photos": "photos",
        "blend": [
            {"pred": "a", "weight": 2, "models": [network("a").to_json()], "tta": "none", "tta_scales": [0.5]},
            {"pred": "b", "weight": 1, "models": [network("b").to_json()], "tta": "none"},
        ],
        "threshold": 0.25,
        "count": 1,
        "sizes": {"1x1": 1},
        "cross_validation": [score.to_json()],
        "estimate": {"unavailable": "the out-of-fold photos were not blended"},
    }


class TestRefusals:
    @pytest.fixture
    def first(self, tmp_path: Path) -> Path:
        return write_probabilities(tmp_path / "a", THREE)

    def test_folders_of_different_photos_are_refused(self, first: Path, tmp_path: Path) -> None:
        second = write_probabilities(tmp_path / "b", {"1": [[0, 0]], "2": [[0, 0]], "4": [[0, 0]]})
        said = refusal([first, second], tmp_path / "out")
        assert said == f"{second} and {first} are not of the same photos; they differ in 3, 4"

    def test_photos_without_probabilities_are_refused(self, first: Path, tmp_path: Path) -> None:
        second = write_probabilities(tmp_path / "b", THREE)
        for stem in ("2", "3"):
            probability_path(second, stem).unlink()
        said = refusal([first, second], tmp_path / "out")
        assert said == f"{second}: 2 photos without probabilities (2, 3); run `infer` with --save-probabilities"

    @pytest.mark.parametrize("workers", [0, 1])
    def test_probabilities_of_different_sizes_are_refused(self, first: Path, tmp_path: Path, workers: int) -> None:
        second = write_probabilities(tmp_path / "b", THREE | {"2": [[0], [200]]})
        said = refusal([first, second], tmp_path / "out", workers=workers)
        assert said == f"{probability_path(second, '2')}: has another size than {probability_path(first, '2')}"

    @pytest.mark.parametrize("workers", [0, 1])
    def test_probabilities_that_cannot_be_read_are_refused(self, first: Path, tmp_path: Path, workers: int) -> None:
        second = write_probabilities(tmp_path / "b", THREE)
        broken = probability_path(second, "2")
        broken.write_bytes(b"no image")
        said = refusal([first, second], tmp_path / "out", workers=workers)
        assert said.startswith(f"{broken}: not an image that can be read (")

    def test_folders_of_different_competitions_are_not_blended(self, first: Path, tmp_path: Path) -> None:
        second = write_probabilities(tmp_path / "b", THREE, competition="cars")
        said = refusal([first, second], tmp_path / "out")
        assert said == f"{first}, {second}: of different competitions: cars, {CARVANA.slug}"
        assert not (tmp_path / "out").exists()

    def test_a_folder_that_is_not_finished_is_refused(self, first: Path, tmp_path: Path) -> None:
        second = write_probabilities(tmp_path / "b", THREE)
        (second / "photos.csv").unlink()
        said = refusal([first, second], tmp_path / "out")
        assert said == f"{second / 'photos.csv'}: missing; run `infer` to its end first"

    def test_a_folder_that_does_not_exist_is_refused(self, first: Path, tmp_path: Path) -> None:
        assert refusal([first, tmp_path / "none"], tmp_path / "out").startswith(
            f"{tmp_path / 'none' / 'photos.csv'}: missing"
        )

    def test_photos_of_the_same_name_and_other_content_are_refused(self, tmp_path: Path) -> None:
        first = write_probabilities(tmp_path / "a", THREE, {"1": "a" * 64, "2": "b" * 64, "3": "c" * 64})
        second = write_probabilities(tmp_path / "b", THREE, {"1": "a" * 64, "2": "d" * 64})
        assert refusal([first, second], tmp_path / "out") == (
            f"{first}, {second}: 1 photo has the same name, but not the same content: 2; "
            "run `infer` again where they are not the right ones"
        )
        assert not (tmp_path / "out").exists()

    def test_a_blend_into_one_of_its_own_folders_is_refused(self, first: Path, tmp_path: Path) -> None:
        second = write_probabilities(tmp_path / "b", THREE)
        before = files_of(first)
        assert "begun with other settings (blend was None, now " in refusal([first, second], first)
        assert files_of(first) == before


class TestContinued:
    @pytest.fixture
    def preds(self, tmp_path: Path) -> list[Path]:
        random = np.random.default_rng(0)
        return [
            write_probabilities(tmp_path / name, {str(number): random.integers(0, 256, (5, 9)) for number in range(4)})
            for name in "ab"
        ]

    def test_an_interrupted_blend_goes_on(
        self, preds: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        whole, out = tmp_path / "whole", tmp_path / "out"
        blended(preds, whole)
        broken = probability_path(preds[1], "2")
        content = broken.read_bytes()
        broken.write_bytes(content[:50])
        assert refusal(preds, out).startswith(f"{broken}: ")
        assert files_of(out).keys() == {"run.json", "competition.json", "masks/0.png", "masks/1.png"}
        broken.write_bytes(content)
        capsys.readouterr()
        assert blended(preds, out) == 4
        assert capsys.readouterr().out.startswith("2 of 4 photos to mask from 2 folders\n")
        assert files_of(out) == files_of(whole)

    def test_masks_of_a_finished_blend_are_not_made_again(
        self, preds: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        blended(preds, tmp_path / "out")
        for pred in preds:
            write_gray(probability_path(pred, "0"), np.zeros((5, 9), dtype=np.uint8))
        before = files_of(tmp_path / "out")
        capsys.readouterr()
        assert blended(preds, tmp_path / "out") == 4
        assert capsys.readouterr().out.startswith("0 of 4 photos to mask from 2 folders\n")
        assert files_of(tmp_path / "out") == before

    def test_a_mask_is_blended_anew_where_both_folders_have_masked_another_photo_since(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        out = tmp_path / "out"
        old = [write_probabilities(tmp_path / name, THREE, dict.fromkeys(THREE, "a" * 64)) for name in "ab"]
        blended(old, out)
        assert mask_of(out, "2") == [[0, 1]]
        assert pred_folder.noted_photo(mask_path(out, "2")) == "a" * 64
        for name in "ab":
            shutil.rmtree(tmp_path / name)
        hashes = {"1": "a" * 64, "2": "b" * 64}
        new = [write_probabilities(tmp_path / name, THREE | {"2": [[200, 0]]}, hashes) for name in "ab"]
        capsys.readouterr()
        blended(new, out)
        assert capsys.readouterr().out.splitlines()[:2] == [
            "made anew, as their photos changed: 1 mask (2)",
            "1 of 3 photos to mask from 2 folders",
        ]
        assert mask_of(out, "2") == [[1, 0]]

    def test_another_blend_is_refused_and_the_difference_named(self, preds: list[Path], tmp_path: Path) -> None:
        out = tmp_path / "out"
        blended(preds, out)
        assert "(blend[0].weight was 1.0, now 2)" in refusal(preds, out, [2, 1])
        assert "(threshold was 0.5, now 0.25)" in refusal(preds, out, threshold=0.25)
        assert "blend[0].pred was a, now b; " in refusal(preds[::-1], out)
        other = write_probabilities(
            tmp_path / "else" / "b", {str(number): np.zeros((5, 9)) for number in range(4)}, tta="flips"
        )
        assert "(blend[1].tta was none, now flips)" in refusal([preds[0], other], out)


def test_a_blend_is_of_the_photos_of_its_first_folder(tmp_path: Path) -> None:
    first = write_probabilities(tmp_path / "one" / "a", {"1": ONE}, photos="one/photos")
    second = write_probabilities(tmp_path / "two" / "b", {"1": OTHER}, photos="two/photos")
    blended([first, second], tmp_path / "out")
    assert pred_folder.read_record(tmp_path / "out").photos == "one/photos"
    assert pred_folder.photo_files(tmp_path / "out") == {"1": tmp_path / "one" / "photos" / "1.png"}

import hashlib
import os
import shutil
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from known_competitions import CARVANA, POOLED, SALT
from known_networks import CPU, BatchNet, Constant, member
from numpy.typing import NDArray
from PIL import Image
from process_group import together
from torch import Tensor, nn

from kaggle_tools.competitions.competition import Competition
from kaggle_tools.data.draw_outlines import draw_outlines
from kaggle_tools.data.images import read_gray, read_mask, read_notes, read_photo, write_photo
from kaggle_tools.data.listing import Photo
from kaggle_tools.errors import InputError, OutOfTimeError
from kaggle_tools.inference import write_masks
from kaggle_tools.inference.ensemble import Ensemble
from kaggle_tools.inference.predict import Prediction
from kaggle_tools.inference.write_masks import (
    THREADS,
    MaskSums,
    MaskWriter,
    batch_size_for,
    mask_photos,
    measured,
    notes_of,
    packed,
    precision_for,
    sums_of,
)
from kaggle_tools.precision import BF16, FP32
from kaggle_tools.results import pred_folder
from kaggle_tools.results.after_care import AfterCare
from kaggle_tools.results.pred_folder import Outputs, mask_path, overlay_path, probability_path
from kaggle_tools.results.records.masks import Record

MASK_ALONE, EVERYTHING = Outputs(), Outputs(probabilities=True, overlays=True)


class BoxNet(nn.Module):
    """Foreground is what is bright, as the boxes on the photos are: the masks are the true ones."""

    def __init__(self) -> None:
        super().__init__()
        self.batches: list[int] = []

    def forward(self, images_BCHW: Tensor) -> Tensor:
        self.batches.append(len(images_BCHW))
        return 20 * (images_BCHW[:, :1] - 0.5)


class Faulty(nn.Module):
    """NaN for photos with a red pixel."""

    def forward(self, images_BCHW: Tensor) -> Tensor:
        red, green, _ = images_BCHW.split(1, dim=1)
        return torch.where(((red == 1) & (green == 0)).any(), torch.nan, red)


def ensemble_of(*nets: nn.Module) -> Ensemble:
    return Ensemble([member(net) for net in nets], CPU, tta="none")


def mask(
    pred: Path,
    photos: list[Photo],
    net: nn.Module,
    wanted: Outputs = MASK_ALONE,
    *,
    batch_size: int = 3,
    deadline: float = float("inf"),
) -> list[str]:
    return mask_photos(
        pred, CARVANA, ensemble_of(net), photos, wanted, batch_size=batch_size, workers=0, deadline=deadline
    )


def files_of(pred: Path) -> dict[str, bytes]:
    """What is in each file, by its name, and nothing that is only begun."""
    return {path.relative_to(pred).as_posix(): path.read_bytes() for path in pred.rglob("*") if path.is_file()}


def photo_of(stem: str, size: tuple[int, int] = (2, 3)) -> Photo:
    return Photo(stem, Path(f"{stem}.jpg"), size)


def prediction_of(stem: str, probability_HW: NDArray[np.float32] | None = None) -> Prediction:
    filled = torch.full((2, 3), 0.75) if probability_HW is None else torch.from_numpy(probability_HW)
    return Prediction(photo_of(stem), filled, (filled >= 0.5).byte())


class TestPacking:
    @pytest.mark.parametrize("width", [1, 7, 8, 9, 16, 30])
    def test_bits_of_a_mask_are_packed_as_numpy_packs_them(self, width: int) -> None:
        mask_HW = np.random.default_rng(width).random((5, width)) < 0.5
        bits = packed(torch.from_numpy(mask_HW))
        assert bits.dtype == torch.uint8
        assert np.array_equal(bits.numpy(), np.packbits(mask_HW, axis=1))

    def test_the_first_pixel_of_a_mask_is_packed_as_the_highest_bit_of_its_first_byte(self) -> None:
        """The first pixel is the highest bit; what is missing in the last byte is 0."""
        assert packed(torch.tensor([[True, *[False] * 6, True, False, True]])).tolist() == [[0b10000001, 0b01000000]]


class TestNotes:
    PROBABILITY = torch.tensor([[0.95, 0.6, 0.05], [0.92, 0.2, 0.0]])
    """Foreground are the first two pixels of the first row, and the first of the second."""
    ONE = torch.tensor([[1, 1, 0], [1, 0, 0]], dtype=torch.uint8)
    TWO = torch.tensor([[2, 1, 0], [2, 1, 0]], dtype=torch.uint8)
    """The votes of two networks: the second one prefers the middle of the second row to that of the first."""

    def notes(
        self, probability_HW: Tensor, votes_HW: Tensor, voters: int, competition: Competition = CARVANA
    ) -> dict[str, float]:
        photo = photo_of("a", probability_HW.shape)
        sums = sums_of(measured(probability_HW, probability_HW >= 0.5, votes_HW).tolist(), photo)
        return notes_of(sums, photo, voters, competition).recorded()

    def test_the_sums_over_pixels_agree_with_those_by_hand(self) -> None:
        """3 pixels with 2.47 of the 2.72 probability; doubtful are 0.6 and 0.2; the outline passes 3 times."""
        numbers = measured(self.PROBABILITY, self.PROBABILITY >= 0.5, self.TWO)
        assert numbers.dtype == torch.float64
        expected = {"area": 3, "inside": 2.47, "probability": 2.72, "doubtful": 2, "outline": 3, "peak": 0.95}
        assert MaskSums(*numbers.tolist())._asdict() == pytest.approx({**expected, "votes_inside": 5, "votes": 6})

    def test_notes_of_one_network_are_area_expected_dice_and_border_width(self) -> None:
        assert self.notes(self.PROBABILITY, self.ONE, 1) == {
            "area": 0.5,
            "expected_dice": 0.863636,  # 2 * 2.47 / (3 + 2.72)
            "border_width": 0.666667,  # 2 / 3
            "expected_score": 0.863636,
        }

    def test_notes_of_two_networks_hold_the_agreement_as_well(self) -> None:
        """5 of the 6 votes are in the mask, in which 6 were possible: 2 * 5 / (6 + 6)."""
        assert self.notes(self.PROBABILITY, self.TWO, 2)["agreement"] == 0.833333

    def test_networks_with_the_same_mask_have_an_agreement_of_1(self) -> None:
        assert self.notes(self.PROBABILITY, 3 * self.ONE, 3)["agreement"] == 1

    def test_probabilities_at_the_ends_of_the_doubtful_range_are_not_doubtful(self) -> None:
        probability_HW = torch.tensor([[0.1, 0.9, 0.0, 1.0]])
        assert self.notes(probability_HW, (probability_HW >= 0.5).byte(), 1)["border_width"] == 0

    def test_a_mask_that_fills_the_photo_has_no_outline(self) -> None:
        full_HW = torch.full((3, 4), 0.75)
        assert self.notes(full_HW, torch.ones(3, 4, dtype=torch.uint8), 1) == {
            "area": 1,
            "expected_dice": 0.857143,  # 2 * 9 / (12 + 9)
            "border_width": 12,  # all doubtful, for one pixel of outline at least
            "expected_score": 0.857143,
        }

    def test_a_blank_mask_has_an_expected_dice_of_1_only_where_all_probabilities_are_0(self) -> None:
        blank = torch.zeros(3, 4, dtype=torch.uint8)
        nothing = {"area": 0, "expected_dice": 1, "border_width": 0, "agreement": 1, "expected_score": 1}
        assert self.notes(torch.zeros(3, 4), blank, 2) == nothing
        doubtful = {"expected_dice": 0, "border_width": 12, "expected_score": 0}
        assert self.notes(torch.full((3, 4), 0.25), blank, 2) == nothing | doubtful

    def test_where_blank_masks_are_usual_their_score_is_the_probability_that_nothing_is_there(self) -> None:
        blank = torch.zeros(3, 4, dtype=torch.uint8)
        probability_HW = torch.full((3, 4), 0.05)
        probability_HW[1, 2] = 0.25
        assert self.notes(probability_HW, blank, 1, SALT)["expected_score"] == 0.75
        assert self.notes(torch.zeros(3, 4), blank, 1, SALT)["expected_score"] == 1

    def test_what_is_truly_foreground_is_noted_where_the_score_is_one_over_all_pixels(self) -> None:
        notes = self.notes(self.PROBABILITY, self.ONE, 1, POOLED)
        assert notes["expected_truth"] == 0.453333  # 2.72 of six pixels
        assert notes["expected_score"] == notes["expected_dice"] == 0.863636

    def test_another_score_than_dice_is_that_of_the_expected_pixels(self) -> None:
        """2.47 of a union of 3 + 2.72 - 2.47 = 3.25: an IoU of 0.76, which exceeds six of the ten thresholds."""
        notes = self.notes(self.PROBABILITY, self.ONE, 1, SALT)
        assert (notes["expected_dice"], notes["expected_score"]) == (0.863636, 0.6)

    def test_votes_for_pixels_outside_the_mask_are_no_agreement(self) -> None:
        assert self.notes(torch.full((1, 1), 0.25), torch.tensor([[1]], dtype=torch.uint8), 2)["agreement"] == 0

    @pytest.mark.parametrize("wrong", [torch.nan, torch.inf])
    def test_probabilities_that_are_nan_or_infinite_are_refused_and_the_photo_named(self, wrong: float) -> None:
        probability_HW = self.PROBABILITY.clone()
        probability_HW[1, 2] = wrong
        with pytest.raises(InputError, match=r"^a\.jpg: the model gave NaN or infinity; train it again$"):
            self.notes(probability_HW, self.ONE, 1)


class TestMaskWriter:
    def test_a_mask_has_the_bits_and_notes_of_its_prediction(self, tmp_path: Path) -> None:
        probability_HW = np.array([[0.3, 0.29, 0.9], [0.1, 0.31, 0.0]], dtype=np.float32)
        with MaskWriter(tmp_path, CARVANA, AfterCare(0.3), 1, MASK_ALONE) as writer:
            writer.put(prediction_of("a", probability_HW))
        assert files_of(tmp_path).keys() == {"masks/a.png"}
        assert read_mask(tmp_path / "masks" / "a.png").tolist() == [[True, False, True], [False, True, False]]
        with Image.open(tmp_path / "masks" / "a.png") as image:
            assert (image.mode, image.size) == ("1", (3, 2))
        notes = read_notes(tmp_path / "masks" / "a.png")
        assert notes["area"] == 0.5
        assert notes["expected_dice"] == pytest.approx(2 * 1.51 / (3 + 1.9), abs=1e-6)

    def test_the_mask_is_written_after_probabilities_and_overlay(
        self, photos: list[Photo], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        write, seen = write_masks.write_packed_mask, []

        def watched(path: Path, *arguments: object) -> None:
            seen.append(
                (path.stem, probability_path(tmp_path, path.stem).exists(), overlay_path(tmp_path, path.stem).exists())
            )
            write(path, *arguments)  # type: ignore[arg-type]

        monkeypatch.setattr(write_masks, "write_packed_mask", watched)
        assert mask(tmp_path, photos[:4], BoxNet(), EVERYTHING) == []
        assert sorted(seen) == [(str(number), True, True) for number in range(4)]

    def test_an_error_in_a_writing_thread_is_raised_at_the_end(self, tmp_path: Path) -> None:
        (tmp_path / "masks").touch()
        with (
            pytest.raises(OSError, match="masks"),
            MaskWriter(tmp_path, CARVANA, AfterCare(0.5), 1, MASK_ALONE) as writer,
        ):
            writer.put(prediction_of("a"))

    def test_an_error_in_a_writing_thread_is_raised_earlier_if_more_masks_are_put(self, tmp_path: Path) -> None:
        (tmp_path / "masks").touch()
        writer = MaskWriter(tmp_path, CARVANA, AfterCare(0.5), 1, MASK_ALONE)
        for number in range(4 * THREADS):
            writer.put(prediction_of(str(number)))
        with pytest.raises(OSError, match="masks"):
            writer.put(prediction_of("one more"))
        writer.pool.shutdown()

    def test_an_error_of_the_caller_is_not_hidden_by_one_in_a_writing_thread(self, tmp_path: Path) -> None:
        def put_and_fail() -> None:
            with MaskWriter(tmp_path, CARVANA, AfterCare(0.5), 1, MASK_ALONE) as writer:
                writer.put(prediction_of("a"))
                raise ZeroDivisionError

        (tmp_path / "masks").touch()
        with pytest.raises(ZeroDivisionError):
            put_and_fail()

    def test_only_a_few_masks_are_being_written_at_once(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Writing waits until there are as many as there may be, and a moment longer for one more."""
        full, too_many, begun, done = threading.Event(), threading.Event(), [], []

        def slow(path: Path, *arguments: object) -> None:
            full.wait(10)
            too_many.wait(0.2)
            done.append(path)

        monkeypatch.setattr(write_masks, "write_packed_mask", slow)
        most = 0
        with MaskWriter(tmp_path, CARVANA, AfterCare(0.5), 1, MASK_ALONE) as writer:
            for number in range(4 * THREADS + 2):
                begun.append(number)
                most = max(most, len(begun) - len(done))
                if most == 4 * THREADS + 1:
                    full.set()
                if most > 4 * THREADS + 1:
                    too_many.set()
                writer.put(prediction_of(str(number)))
        assert most == 4 * THREADS + 1
        assert len(done) == len(begun)


class TestMaskPhotos:
    def test_every_photo_has_its_mask(self, photos: list[Photo], tmp_path: Path) -> None:
        assert mask(tmp_path, photos, BoxNet()) == []
        assert len(files_of(tmp_path)) == 13
        for photo in photos:
            assert photo.mask is not None
            assert np.array_equal(read_mask(mask_path(tmp_path, photo.stem)), read_mask(photo.mask))

    def test_probabilities_and_overlay_are_those_of_the_mask(self, photos: list[Photo], tmp_path: Path) -> None:
        photo = photos[5]
        mask(tmp_path, [photo], BoxNet(), EVERYTHING)
        red_HW = read_photo(photo.path)[..., 0] / 255
        expected_HW = 255 / (1 + np.exp(-20 * (red_HW - 0.5)))
        found_HW = read_gray(probability_path(tmp_path, photo.stem))
        assert np.abs(found_HW - expected_HW).max() <= 0.501
        assert photo.mask is not None
        drawn = draw_outlines(read_photo(photo.path), read_mask(photo.mask))
        write_photo(tmp_path / "by_hand.jpg", drawn)
        assert overlay_path(tmp_path, photo.stem).read_bytes() == (tmp_path / "by_hand.jpg").read_bytes()

    def test_several_networks_vote(self, photos: list[Photo], tmp_path: Path) -> None:
        """One of them finds the box, one the whole photo: 2 * 2 boxes of box + photo + 2 boxes."""
        photo = photos[0]
        mask_photos(tmp_path, CARVANA, ensemble_of(BoxNet(), Constant(0)), [photo], MASK_ALONE, batch_size=1, workers=0)
        box, all_pixels = 9 * 14, 20 * 30
        notes = read_notes(mask_path(tmp_path, photo.stem))
        assert notes["area"] == box / all_pixels
        assert notes["agreement"] == pytest.approx(4 * box / (3 * box + all_pixels), abs=1e-6)

    def test_batches_that_lack_nothing_are_not_computed(
        self, photos: list[Photo], tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        mask(tmp_path, photos, BoxNet())
        net = BoxNet()
        assert mask(tmp_path, photos, net) == []
        assert net.batches == []
        assert "0 of 13 photos to mask with 1 network\n" in capsys.readouterr().out

    @pytest.mark.parametrize("lost", [3, 5])
    def test_a_batch_that_lacks_one_photo_is_computed_whole_with_the_same_bits(
        self, photos: list[Photo], tmp_path: Path, lost: int, capsys: pytest.CaptureFixture[str]
    ) -> None:
        mask(tmp_path, photos, BatchNet(), EVERYTHING)
        before = files_of(tmp_path)
        mask_path(tmp_path, str(lost)).unlink()
        capsys.readouterr()
        mask(tmp_path, photos, BatchNet(), EVERYTHING)
        assert files_of(tmp_path) == before
        assert capsys.readouterr().out.startswith("3 of 13 photos to mask")

    def test_the_bits_of_this_network_depend_on_the_batch(self, photos: list[Photo], tmp_path: Path) -> None:
        """Without this the test above would say nothing."""
        mask(tmp_path / "3", photos, BatchNet(), EVERYTHING)
        mask(tmp_path / "2", photos, BatchNet(), EVERYTHING, batch_size=2)
        for name in ("probabilities/4.png", "masks/4.png"):
            assert (tmp_path / "3" / name).read_bytes() != (tmp_path / "2" / name).read_bytes()

    @pytest.mark.parametrize("lost", ["probabilities/4.png", "overlays/4.jpg"])
    def test_a_photo_without_its_probabilities_or_overlay_is_computed_again(
        self, photos: list[Photo], tmp_path: Path, lost: str
    ) -> None:
        mask(tmp_path, photos, BoxNet(), EVERYTHING)
        before = files_of(tmp_path)
        (tmp_path / lost).unlink()
        net = BoxNet()
        mask(tmp_path, photos, net)
        assert net.batches == []
        mask(tmp_path, photos, net, EVERYTHING)
        assert net.batches == [3]
        assert files_of(tmp_path) == before

    def test_photos_that_cannot_be_read_are_named_and_the_others_masked(
        self, photos: list[Photo], tmp_path: Path
    ) -> None:
        broken = [Photo(stem, tmp_path / f"{stem}.jpg", (20, 30)) for stem in ("missing", "cut off")]
        content = photos[0].path.read_bytes()
        broken[1].path.write_bytes(content[: len(content) // 2])
        pred = tmp_path / "pred"
        failures = mask(pred, [photos[0], broken[0], *photos[1:6], broken[1]], BoxNet())
        assert failures == [
            f"{broken[0].path}: cannot be read (No such file or directory)",
            f"{broken[1].path}: not a photo that can be read; fetch it again",
        ]
        assert files_of(pred).keys() == {f"masks/{photo.stem}.png" for photo in photos[:6]}
        for photo in photos[:6]:
            assert photo.mask is not None
            assert np.array_equal(read_mask(mask_path(pred, photo.stem)), read_mask(photo.mask))

    def test_a_network_that_gives_nan_is_refused_with_the_name_of_the_photo(self, tmp_path: Path) -> None:
        photos = []
        for number, colour in enumerate(["gray", "red", "gray"]):
            photos.append(Photo(str(number), tmp_path / f"{number}.png", (4, 6)))
            Image.new("RGB", (6, 4), colour).save(photos[-1].path)
        with pytest.raises(InputError, match=r"/1\.png: the model gave NaN or infinity; train it again$"):
            mask(tmp_path / "pred", photos, Faulty(), batch_size=1)
        assert "masks/1.png" not in files_of(tmp_path / "pred")

    @pytest.mark.parametrize("batch_size", [1, 3])
    def test_masking_stops_at_its_deadline_and_the_same_call_goes_on(
        self, photos: list[Photo], tmp_path: Path, batch_size: int
    ) -> None:
        mask(tmp_path / "whole", photos, BatchNet(), batch_size=batch_size)
        pred = tmp_path / "pred"
        with pytest.raises(OutOfTimeError, match="as --max-hours asks; the same command continues"):
            mask(pred, photos, BatchNet(), batch_size=batch_size, deadline=time.monotonic())
        assert files_of(pred).keys() == {f"masks/{number}.png" for number in range(batch_size)}  # a whole batch
        assert mask(pred, photos, BatchNet(), batch_size=batch_size) == []
        assert files_of(pred) == files_of(tmp_path / "whole")

    def test_masking_does_not_stop_before_its_deadline(self, photos: list[Photo], tmp_path: Path) -> None:
        assert mask(tmp_path, photos, BoxNet(), deadline=time.monotonic() + 3600) == []
        assert len(files_of(tmp_path)) == 13


class TestReplacedPhotos:
    @pytest.fixture
    def shown(self, photos: list[Photo], tmp_path: Path) -> list[Photo]:
        """Copies of the first four photos."""
        (tmp_path / "shown").mkdir()
        return [replace(photo, path=Path(shutil.copy(photo.path, tmp_path / "shown"))) for photo in photos[:4]]

    def test_mask_and_probabilities_note_the_sha256_of_their_photo(self, shown: list[Photo], tmp_path: Path) -> None:
        mask(tmp_path / "pred", shown, BoxNet(), EVERYTHING)
        for path_of in (mask_path, probability_path):
            with Image.open(path_of(tmp_path / "pred", "2")) as image:
                assert image.text["photo_sha256"] == hashlib.sha256(shown[2].path.read_bytes()).hexdigest()

    def test_a_photo_that_was_replaced_is_masked_anew(
        self, photos: list[Photo], shown: list[Photo], tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        pred, other = tmp_path / "pred", photos[7]
        mask(pred, shown, BoxNet(), EVERYTHING, batch_size=1)
        before = files_of(pred)
        shutil.copy(other.path, shown[1].path)
        capsys.readouterr()
        mask(pred, shown, BoxNet(), EVERYTHING, batch_size=1)
        assert capsys.readouterr().out.splitlines()[:2] == [
            "made anew, as their photos changed: 1 mask (1)",
            "1 of 4 photos to mask with 1 network",
        ]
        assert other.mask is not None
        assert np.array_equal(read_mask(mask_path(pred, "1")), read_mask(other.mask))
        changed = {name for name, content in files_of(pred).items() if content != before[name]}
        assert changed == {"masks/1.png", "probabilities/1.png", "overlays/1.jpg"}

    def test_saved_probabilities_of_a_photo_that_was_replaced_go_with_its_mask(
        self, photos: list[Photo], shown: list[Photo], tmp_path: Path
    ) -> None:
        """Continued without them, none of the old photo may be left for a blend."""
        pred = tmp_path / "pred"
        mask(pred, shown, BoxNet(), EVERYTHING)
        shutil.copy(photos[7].path, shown[1].path)
        mask(pred, shown, BoxNet())
        assert sorted(path.stem for path in (pred / "probabilities").iterdir()) == ["0", "2", "3"]
        assert sorted(path.stem for path in (pred / "masks").iterdir()) == ["0", "1", "2", "3"]

    def test_a_photo_of_another_size_is_masked_anew(self, shown: list[Photo], tmp_path: Path) -> None:
        pred = tmp_path / "pred"
        mask(pred, shown, BoxNet())
        Image.new("RGB", (9, 7)).save(shown[0].path)
        mask(pred, [replace(shown[0], size=(7, 9)), *shown[1:]], BoxNet())
        assert read_mask(mask_path(pred, "0")).shape == (7, 9)

    def test_a_copy_of_a_photo_with_another_date_is_the_same_photo(
        self, shown: list[Photo], tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        mask(tmp_path / "pred", shown, BoxNet())
        os.utime(shown[0].path, (1, 1))
        mask(tmp_path / "pred", shown, BoxNet())
        assert "made anew" not in capsys.readouterr().out

    def test_processes_that_share_the_work_mask_a_replaced_photo_once(
        self, photos: list[Photo], shown: list[Photo], tmp_path: Path
    ) -> None:
        pred = tmp_path / "pred"
        mask(pred, shown, BoxNet(), batch_size=1)
        shutil.copy(photos[7].path, shown[3].path)

        def work(rank: int) -> list[int]:
            net = Counting()
            mask(pred, shown, net, batch_size=1)
            return net.batches

        assert together(work, tmp_path / "store", ranks=2) == [[1], []]


class TestOrphans:
    @pytest.fixture(autouse=True)
    def the_starter_has_ended(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(write_masks, "is_orphan", lambda: True)

    def test_the_first_process_goes_on_when_its_shell_is_closed(self, photos: list[Photo], tmp_path: Path) -> None:
        assert mask(tmp_path, photos, BoxNet()) == []
        assert len(files_of(tmp_path)) == 13

    def test_another_process_stops_when_the_first_one_has_ended(
        self, photos: list[Photo], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(write_masks, "rank_and_ranks", lambda: (1, 2))
        with pytest.raises(InputError, match="^the process that started this one has ended$"):
            mask(tmp_path, photos, BoxNet())
        assert files_of(tmp_path).keys() == {"masks/3.png"}


class TestSeveralProcesses:
    """Forked from the test; the thirteen photos are five batches."""

    def test_each_process_masks_its_share_and_knows_all_failures(self, photos: list[Photo], tmp_path: Path) -> None:
        mask(tmp_path / "alone", photos, BatchNet(), EVERYTHING)
        broken = [
            *photos[:4],
            Photo("4", tmp_path / "4.png", (20, 30)),
            *photos[5:12],
            Photo("12", tmp_path / "12.png", (20, 30)),
        ]

        def work(rank: int) -> tuple[list[int], list[str]]:
            net = Counting()
            failures = mask(tmp_path / "shared", broken, net, EVERYTHING)
            return net.batches, failures

        found = together(work, tmp_path / "store", ranks=3)
        assert [batches for batches, _ in found] == [[3, 3], [3, 1], [3]]
        failures = [f"{tmp_path}/{stem}.png: cannot be read (No such file or directory)" for stem in ("4", "12")]
        assert [sorted(told) for _, told in found] == [sorted(failures)] * 3
        expected = {
            name: content
            for name, content in files_of(tmp_path / "alone").items()
            if Path(name).stem not in ("4", "12")
        }
        assert files_of(tmp_path / "shared") == expected

    def test_all_processes_stop_at_the_deadline_of_one(self, photos: list[Photo], tmp_path: Path) -> None:
        def work(rank: int) -> str:
            try:
                mask(tmp_path / "pred", photos, BatchNet(), deadline=time.monotonic() if rank == 1 else float("inf"))
            except OutOfTimeError as stopped:
                return str(stopped)
            return "not stopped"

        assert [said.split()[0] for said in together(work, tmp_path / "store", ranks=3)] == ["stopped"] * 3
        # The shares of the others are done; of the second one's, the batches of 3 to 5 and of 12, the first one is.
        assert sorted(int(Path(name).stem) for name in files_of(tmp_path / "pred")) == list(range(12))

    def test_a_process_that_starts_late_masks_its_share(self, photos: list[Photo], tmp_path: Path) -> None:
        def work(rank: int) -> list[str]:
            if rank == 1:
                end = time.monotonic() + 0.5
                while not mask_path(tmp_path / "pred", "0").exists() and time.monotonic() < end:
                    time.sleep(0.01)
            return mask(tmp_path / "pred", photos, BatchNet(), batch_size=1)

        together(work, tmp_path / "store")
        assert sorted(int(Path(name).stem) for name in files_of(tmp_path / "pred")) == list(range(13))


class Counting(BatchNet):
    """Notes how many photos there are in each batch."""

    def __init__(self) -> None:
        super().__init__()
        self.batches: list[int] = []

    def forward(self, images_BCHW: Tensor) -> Tensor:
        self.batches.append(len(images_BCHW))
        return super().forward(images_BCHW)


class TestBatchSize:
    ONE = ensemble_of(Constant(0))

    def test_a_folder_that_was_begun_keeps_its_batch_size(self, tmp_path: Path) -> None:
        (tmp_path / "run.json").write_text('{"competition": "x", "batch_size": 6}')
        assert batch_size_for(tmp_path, self.ONE, []) == 6

    def test_a_batch_of_more_photos_than_anybody_needs_must_be_asked_for(self, tmp_path: Path) -> None:
        """As where a folder came from a stranger."""
        (tmp_path / "run.json").write_text('{"competition": "x", "batch_size": 1000000}')
        with pytest.raises(InputError, match="begun with --batch-size 1000000; give it as well, if that is meant$"):
            batch_size_for(tmp_path, self.ONE, [])

    def test_a_new_folder_gets_the_batch_size_that_fits(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        assert batch_size_for(tmp_path, self.ONE, []) == 1
        monkeypatch.setattr(write_masks, "batch_size_that_fits", lambda *_: 8)
        assert batch_size_for(tmp_path, self.ONE, []) == 8

    def test_several_processes_take_the_smallest_of_their_batch_sizes(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(write_masks, "gathered", lambda value: [4, value, 2])
        assert batch_size_for(tmp_path, self.ONE, []) == 1
        monkeypatch.setattr(write_masks, "batch_size_that_fits", lambda *_: 8)
        assert batch_size_for(tmp_path, self.ONE, []) == 2


def test_a_photo_whose_results_do_not_fit_into_the_devices_memory_is_measured_on_the_cpu(
    photos: list[Photo], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mask(tmp_path / "whole", photos, BatchNet())
    measured, calls = write_masks.measured, []

    def full_once(*given: Tensor) -> Tensor:
        calls.append(1)
        if len(calls) == 3:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 10.00 MiB.")
        return measured(*given)

    monkeypatch.setattr(write_masks, "measured", full_once)
    mask(tmp_path / "pred", photos, BatchNet())
    assert files_of(tmp_path / "pred") == files_of(tmp_path / "whole")


class TestPrecision:
    """The fastest is bfloat16 here, whatever the machine of the tests has."""

    @pytest.fixture(autouse=True)
    def fast(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(write_masks, "fast_precision", lambda _: BF16)

    def begun_with(self, pred: Path, precision: str | None) -> None:
        with pred_folder.begun(pred, Record(competition="roof-tiles", precision=precision)):
            pass

    def test_new_masks_are_computed_as_fast_as_the_machine_can(self, tmp_path: Path) -> None:
        assert precision_for(tmp_path / "new", CPU, "auto") == BF16

    def test_what_is_asked_for_is_taken(self, tmp_path: Path) -> None:
        self.begun_with(tmp_path, "bf16-mixed")
        assert precision_for(tmp_path, CPU, FP32) == FP32

    def test_a_folder_is_continued_as_it_was_begun(self, tmp_path: Path) -> None:
        self.begun_with(tmp_path, "32-true")
        assert precision_for(tmp_path, CPU, "auto") == FP32

    def test_a_folder_of_an_older_version_is_continued_in_float32_on_a_processor(self, tmp_path: Path) -> None:
        self.begun_with(tmp_path, None)
        assert precision_for(tmp_path, CPU, "auto") == FP32
        assert precision_for(tmp_path, torch.device("cuda"), "auto") == BF16

    def test_an_unknown_arithmetic_is_refused(self, tmp_path: Path) -> None:
        self.begun_with(tmp_path, "4-bits")
        with pytest.raises(InputError, match="begun with --precision 4-bits, which is not known; give another --out"):
            precision_for(tmp_path, CPU, "auto")


def test_small_parts_are_removed_from_masks_where_that_was_learnt(tmp_path: Path) -> None:
    probability_HW = torch.zeros(6, 9)
    probability_HW[1:4, 1:4], probability_HW[5, 8] = 0.9, 0.8
    photo = Photo("a", tmp_path / "a.png", (6, 9))
    with MaskWriter(tmp_path, CARVANA, AfterCare(0.5, smallest_part=2), 1, MASK_ALONE) as writer:
        writer.put(Prediction(photo, probability_HW, (probability_HW > 0.5).byte()))
    mask_HW = read_mask(mask_path(tmp_path, "a"))
    assert mask_HW.sum() == 9
    assert not mask_HW[5, 8]
    assert read_notes(mask_path(tmp_path, "a"))["area"] == pytest.approx(9 / 54, abs=1e-6)


def test_masks_of_each_class_are_made_in_its_own_way(tmp_path: Path) -> None:
    spec = replace(CARVANA, classes=("1", "2"), class_column="class")
    care = AfterCare(by_class=(("1", AfterCare(0.7)), ("2", AfterCare(0.8))))
    with MaskWriter(tmp_path, spec, care, 1, MASK_ALONE) as writer:
        for name in ("a_01_1", "a_01_2"):
            writer.put(prediction_of(name))  # 0.75 everywhere
    assert read_mask(mask_path(tmp_path, "a_01_1")).all()
    assert not read_mask(mask_path(tmp_path, "a_01_2")).any()

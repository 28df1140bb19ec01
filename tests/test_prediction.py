import weakref
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from kaggle_tools import data, prediction, run_folder
from kaggle_tools.data import loader
from kaggle_tools.errors import InputError
from kaggle_tools.images import Photo, read_photo, resize
from kaggle_tools.model import Architecture, ModelCard, Segmenter, build, save
from kaggle_tools.prediction import Member, enlarge, load_members, predict

Size = tuple[int, int]
Floats = NDArray[np.floating]

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


class RampNet(nn.Module):
    """Logits that depend on the colours and, as a trained network's may, on where in the image a pixel lies.

    A mask that is flipped back wrongly, or by one pixel too many, differs everywhere from the right one.
    """

    def forward(self, images_BCHW: Tensor) -> Tensor:
        height, width = images_BCHW.shape[-2:]
        rows, columns = torch.arange(height).view(-1, 1), torch.arange(width)
        red, green, blue = images_BCHW.split(1, dim=1)
        return 4 * red - 3 * green + 2 * blue + 0.01 * rows - 0.02 * columns


def ramp_logits(photo_HW3: NDArray[np.uint8]) -> Floats:
    """What `RampNet` says of one photo, in double precision."""
    red, green, blue = photo_HW3.transpose(2, 0, 1) / 255
    rows, columns = np.indices(red.shape)
    return 4 * red - 3 * green + 2 * blue + 0.01 * rows - 0.02 * columns


def sigmoid(logits: Floats) -> Floats:
    return 1 / (1 + np.exp(-logits))


def ramp_probabilities(photo_HW3: NDArray[np.uint8]) -> Floats:
    return sigmoid(ramp_logits(photo_HW3))


def bilinear(image_HW: Floats, size: Size) -> Floats:
    """Enlarged so that the areas of both images are the same: pixel centres lie at halves."""

    def weights(new: int, old: int) -> Floats:
        centres = np.clip((np.arange(new) + 0.5) * old / new - 0.5, 0, old - 1)
        return np.maximum(0, 1 - np.abs(centres[:, None] - np.arange(old)))

    return weights(size[0], image_HW.shape[0]) @ image_HW @ weights(size[1], image_HW.shape[1]).T


def member(net: nn.Module, image_size: Size | None = None, *, multiple: int = 1) -> Member:
    segmenter = Segmenter(net, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0), multiple=multiple).eval()
    return Member(segmenter, ModelCard(Architecture(), image_size, "roof-tiles", 0), Path("fold0"))


class Constant(nn.Module):
    """The same logit everywhere."""

    def __init__(self, logit: float) -> None:
        super().__init__()
        self.logit = logit

    def forward(self, images_BCHW: Tensor) -> Tensor:
        return torch.full_like(images_BCHW[:, :1], self.logit)


def noise(size: Size, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)


def save_photo(folder: Path, stem: str, pixels: NDArray[np.uint8]) -> Photo:
    Image.fromarray(pixels).save(folder / f"{stem}.png", compress_level=1)
    return Photo(stem, folder / f"{stem}.png", pixels.shape[:2])


@pytest.fixture
def draw(tmp_path: Path) -> Callable[..., list[Photo]]:
    """Draws photos of noise, one for each size, each with other pixels."""
    return lambda *sizes: [save_photo(tmp_path, f"p{at}", noise(size, at)) for at, size in enumerate(sizes)]


def probabilities(
    members: list[Member], photos: list[Photo], tta: str = "none", batch_size: int = 1, workers: int = 0
) -> list[NDArray[np.float32]]:
    predicted = predict(members, photos, tta=tta, batch_size=batch_size, workers=workers)
    return [probability_HW.numpy() for _, probability_HW in predicted]


UNFLIPPED = {
    "none": [lambda image: image],
    "hflip": [lambda image: image, lambda image: image[:, ::-1]],
    "flips": [
        lambda image: image,
        lambda image: image[:, ::-1],
        lambda image: image[::-1],
        lambda image: image[::-1, ::-1],
    ],
}
"""By name, the flips; each undoes itself."""


def flipped_mean(network: Callable[[NDArray[np.uint8]], Floats], photo_HW3: NDArray[np.uint8], tta: str) -> Floats:
    return np.mean([flip(network(flip(photo_HW3))) for flip in UNFLIPPED[tta]], axis=0)


class TestFlips:
    @pytest.mark.parametrize("multiple", [1, 32])
    @pytest.mark.parametrize("tta", UNFLIPPED)
    def test_the_right_flips_are_averaged_and_undone_to_the_pixel(
        self, draw: Callable[..., list[Photo]], tta: str, multiple: int
    ) -> None:
        (found,) = probabilities([member(RampNet(), multiple=multiple)], draw((127, 191)), tta)
        assert found.shape == (127, 191)
        assert found.dtype == np.float32
        assert np.allclose(found, flipped_mean(ramp_probabilities, noise((127, 191)), tta), atol=1e-5)

    def test_so_they_are_at_a_size_near_to_that_of_the_competition(self, tmp_path: Path) -> None:
        rows, columns = np.indices((1279, 1917))
        pixels = np.stack([rows * 7 + columns * 13, rows * 3 + columns, rows ^ columns], axis=-1).astype(np.uint8)
        photo = save_photo(tmp_path, "large", pixels)
        (found,) = probabilities([member(RampNet(), multiple=32)], [photo], "flips")
        assert np.allclose(found, flipped_mean(ramp_probabilities, pixels, "flips"), atol=1e-5)

    def test_a_mask_that_follows_the_colours_alone_is_not_moved_by_any_flip(
        self, draw: Callable[..., list[Photo]]
    ) -> None:
        class Red(nn.Module):
            def forward(self, images_BCHW: Tensor) -> Tensor:
                return images_BCHW[:, :1] * 10 - 5

        for tta in UNFLIPPED:
            (found,) = probabilities([member(Red(), multiple=32)], draw((61, 93)), tta)
            assert np.allclose(found, sigmoid(noise((61, 93))[..., 0] / 25.5 - 5), atol=1e-6)

    @torch.inference_mode()
    def test_a_real_network_at_an_odd_size_gives_the_mean_over_photos_turned_by_hand(
        self, draw: Callable[..., list[Photo]]
    ) -> None:
        torch.manual_seed(0)
        unet = build(Architecture("unet", width=2, depth=4)).eval()

        def network(photo_HW3: NDArray[np.uint8]) -> Floats:
            image_13HW = torch.from_numpy(photo_HW3.transpose(2, 0, 1)[None].copy())
            return torch.sigmoid(unet(image_13HW))[0, 0].numpy()

        one = Member(unet, ModelCard(Architecture(), None, "roof-tiles", 0), Path("fold0"))
        (found,) = probabilities([one], draw((127, 191)), "flips")
        assert np.allclose(found, flipped_mean(network, noise((127, 191)), "flips"), atol=1e-5)

    def test_the_probabilities_are_averaged_not_the_logits(self, draw: Callable[..., list[Photo]]) -> None:
        class LeftHalf(nn.Module):
            def forward(self, images_BCHW: Tensor) -> Tensor:
                logits = torch.full_like(images_BCHW[:, :1], -2)
                logits[..., : images_BCHW.shape[-1] // 2] = 4
                return logits

        (found,) = probabilities([member(LeftHalf())], draw((4, 6)), "hflip")
        assert found == pytest.approx(0.5506084)  # (0.9820138 + 0.1192029) / 2; the mean logit 1 would give 0.73


class TestEnlarging:
    @pytest.mark.parametrize(
        ("small", "large"), [((5, 7), (13, 11)), ((64, 96), (127, 191)), ((1, 1), (3, 4)), ((16, 24), (127, 24))]
    )
    def test_it_is_bilinear_with_the_areas_of_pixels_aligned(self, small: Size, large: Size) -> None:
        image = np.random.default_rng(0).random(small)
        found = enlarge(torch.from_numpy(image)[None, None], large)
        assert np.allclose(found[0, 0].numpy(), bilinear(image, large))

    def test_by_hand(self) -> None:
        assert enlarge(torch.tensor([[[[0.0, 1.0]]]]), (1, 4)).tolist() == [[[[0, 0.25, 0.75, 1]]]]

    def test_the_own_size_is_left_as_it_is(self) -> None:
        image = torch.rand(1, 1, 5, 7)
        assert enlarge(image, (5, 7)) is image

    @pytest.mark.parametrize("tta", UNFLIPPED)
    def test_a_photo_is_seen_small_and_its_probabilities_are_brought_back(
        self, draw: Callable[..., list[Photo]], tta: str
    ) -> None:
        (found,) = probabilities([member(RampNet(), (40, 56), multiple=32)], draw((127, 191)), tta)
        seen = resize(noise((127, 191)), (40, 56))
        assert np.allclose(found, bilinear(flipped_mean(ramp_probabilities, seen, tta), (127, 191)), atol=1e-5)


class TestEnsembles:
    def test_probabilities_are_averaged_not_logits(self, draw: Callable[..., list[Photo]]) -> None:
        (found,) = probabilities([member(Constant(4)), member(Constant(-2))], draw((4, 6)))
        assert found == pytest.approx(0.5506084)

    def test_every_network_counts_once_whatever_its_size(self, draw: Callable[..., list[Photo]]) -> None:
        members = [member(Constant(4), (8, 8)), member(Constant(0), (4, 4)), member(Constant(4), (8, 8))]
        (found,) = probabilities(members, draw((16, 20)), "flips")
        assert found == pytest.approx((0.9820138 + 0.5 + 0.9820138) / 3)

    def test_each_network_sees_the_photo_at_its_own_size(self, draw: Callable[..., list[Photo]]) -> None:
        sizes = [(40, 56), None, (64, 96)]
        members = [member(RampNet(), size, multiple=32) for size in sizes]
        (found,) = probabilities(members, draw((127, 191)), "hflip")
        expected = [
            bilinear(flipped_mean(ramp_probabilities, resize(noise((127, 191)), size), "hflip"), (127, 191))
            for size in [(40, 56), (127, 191), (64, 96)]
        ]
        assert np.allclose(found, np.mean(expected, axis=0), atol=1e-5)


class TestPhotos:
    sizes = ((20, 30), (20, 30), (30, 20), (20, 30), (20, 30), (20, 30), (17, 33))

    @pytest.mark.parametrize("image_size", [None, (16, 16)])
    @pytest.mark.parametrize(("batch_size", "workers"), [(1, 0), (2, 0), (100, 0), (2, 2)])
    def test_they_come_once_each_in_order_and_at_their_own_size(
        self, draw: Callable[..., list[Photo]], image_size: Size | None, batch_size: int, workers: int
    ) -> None:
        photos = draw(*self.sizes)
        found = list(
            predict([member(RampNet(), image_size)], photos, tta="none", batch_size=batch_size, workers=workers)
        )
        assert [photo for photo, _ in found] == photos
        for at, (photo, probability_HW) in enumerate(found):
            seen = resize(noise(photo.size, at), image_size or photo.size)
            assert np.allclose(probability_HW.numpy(), bilinear(ramp_probabilities(seen), photo.size), atol=1e-5)

    def test_without_photos_there_are_no_probabilities(self) -> None:
        assert probabilities([member(RampNet())], []) == []

    @pytest.mark.parametrize("workers", [0, 1])
    def test_a_broken_photo_is_named_once_those_before_it_are_done(
        self, draw: Callable[..., list[Photo]], workers: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        loaders = []
        monkeypatch.setattr(
            prediction, "loader", lambda *args, **kw: loaders.append(loader(*args, **kw)) or loaders[-1]
        )
        photos = draw(*[(8, 8)] * 3)
        photos[2].path.write_bytes(b"")
        predicted = predict([member(RampNet())], photos, tta="none", batch_size=1, workers=workers)
        assert [next(predicted)[0], next(predicted)[0]] == photos[:2]
        with pytest.raises(InputError, match=rf"^{photos[2].path}: not a photo that can be read; fetch it again$"):
            next(predicted)
        if workers:
            loaders[0]._iterator._shutdown_workers()  # as garbage, the iterator would wait 5 seconds for the worker


class TestMemory:
    def test_photos_are_read_only_as_they_are_asked_for(
        self, draw: Callable[..., list[Photo]], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        read = []

        def reading(path: Path) -> NDArray[np.uint8]:
            read.append(path)
            return read_photo(path)

        monkeypatch.setattr(data, "read_photo", reading)
        predicted = predict([member(RampNet())], draw(*[(8, 8)] * 20), tta="hflip", batch_size=3, workers=0)
        assert read == []
        for done, _ in enumerate(predicted, start=1):
            assert len(read) <= done + 2  # the rest of the batch

    def test_no_more_than_two_batches_are_held(
        self, draw: Callable[..., list[Photo]], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        held: list[weakref.ref] = []

        def watched(*arguments: object) -> Tensor:
            result = ensemble_probabilities(*arguments)
            held.append(weakref.ref(result))
            return result

        ensemble_probabilities = prediction.ensemble_probabilities
        monkeypatch.setattr(prediction, "ensemble_probabilities", watched)
        for _ in predict([member(RampNet())], draw(*[(8, 8)] * 20), tta="none", batch_size=2, workers=0):
            assert sum(batch() is not None for batch in held) <= 2
        assert len(held) == 10

    def test_no_gradient_is_prepared(self, draw: Callable[..., list[Photo]]) -> None:
        net = nn.Conv2d(3, 1, 1)
        ((_, probability_HW),) = predict([member(net)], draw((8, 8)), tta="flips", batch_size=1, workers=0)
        assert not probability_HW.requires_grad


class TestLoading:
    @pytest.fixture
    def runs(self, tmp_path: Path) -> list[Path]:
        """Two runs, the first of folds 0 and 2, the second of fold 2 alone."""
        runs = [tmp_path / "first", tmp_path / "second"]
        for run, fold in ((runs[0], 0), (runs[0], 2), (runs[1], 2)):
            architecture = Architecture("unet", width=2, depth=1)
            card = ModelCard(architecture, (16, 16), "roof-tiles", fold)
            save(build(architecture), card, run_folder.fold_folder(run, fold))
        return runs

    def found(self, runs: list[Path], folds: list[int] | None) -> list[tuple[str, int]]:
        members = load_members(runs, folds, CPU)
        assert not any(member.model.training for member in members)
        return [(member.folder.parent.name, member.card.fold) for member in members]

    def test_all_folds_there_are_take_part(self, runs: list[Path]) -> None:
        assert self.found(runs, None) == [("first", 0), ("first", 2), ("second", 2)]

    def test_or_those_that_are_asked_for_each_once(self, runs: list[Path]) -> None:
        assert self.found(runs, [2, 2]) == [("first", 2), ("second", 2)]
        assert self.found(runs[:1], [2, 0]) == [("first", 0), ("first", 2)]

    def test_a_fold_that_a_run_does_not_have_is_named(self, runs: list[Path]) -> None:
        with pytest.raises(InputError, match=r"second/fold0/model\.json: missing"):
            load_members(runs, [0], CPU)

    def test_a_folder_without_networks_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="no trained fold in it"):
            load_members([tmp_path], None, CPU)

import weakref
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from known_networks import (
    CPU,
    BatchNet,
    Constant,
    RampNet,
    Size,
    bilinear,
    card_of,
    member,
    noise,
    ramp_probabilities,
    save_photo,
    scaled_mean,
    unet,
)
from torch import Tensor, nn

from kaggle_tools.data.images import read_photo, resize
from kaggle_tools.data.listing import Photo
from kaggle_tools.data.loading import datasets
from kaggle_tools.data.loading.datasets import equal_size_batches
from kaggle_tools.data.loading.fitting import InputSize
from kaggle_tools.errors import InputError
from kaggle_tools.inference import predict as prediction_module
from kaggle_tools.inference.ensemble import Ensemble, Member, Mix
from kaggle_tools.inference.predict import (
    Prediction,
    Unreadable,
    as_bytes,
    batch_size_that_fits,
    predict,
    require_sizes,
)
from kaggle_tools.models.segmenter import Architecture
from kaggle_tools.system import output
from kaggle_tools.system.files import sha256


@pytest.fixture
def draw(tmp_path: Path) -> Callable[..., list[Photo]]:
    """Draws photos of noise, one for each size, each with other pixels."""
    return lambda *sizes: [save_photo(tmp_path, f"p{at}", noise(size, at)) for at, size in enumerate(sizes)]


def predictions(
    members: list[Member],
    photos: list[Photo],
    batch_size: int = 1,
    workers: int = 0,
    tta: str = "none",
    **settings: Any,
) -> list[Any]:
    """The predictions, or what stands in their place."""
    ensemble = Ensemble(members, CPU, tta=tta, **settings)
    return list(predict(ensemble, photos, equal_size_batches(photos, batch_size), workers=workers))


def same_bits(one: Prediction, two: Prediction) -> bool:
    return torch.equal(one.probability_HW, two.probability_HW) and torch.equal(one.votes_HW, two.votes_HW)


class TestSizes:
    def pan(self, image_size: Size | None) -> Member:
        """Its pyramid needs more than 64x64 pixels; only its name is looked at."""
        card = card_of(image_size, architecture=Architecture("smp:PAN/mobilenet_v2"))
        return replace(member(nn.Identity()), card=card)

    def test_a_network_that_cannot_take_a_scale_is_refused_before_a_photo_is_read(self) -> None:
        photo, pan = Photo("a", Path("is nowhere"), (1280, 1918)), self.pan((160, 240))
        require_sizes(Ensemble([pan], CPU, tta="none", scales=(1.0,)), [photo])
        with pytest.raises(InputError) as refusal:
            require_sizes(Ensemble([pan], CPU, tta="none", scales=(1.0, 0.5)), [photo])
        assert str(refusal.value).startswith(
            "smp:PAN/mobilenet_v2 cannot take 1 photo of 80x120 in evaluation (--tta-scales 0.5): "
        )
        assert "It takes 160x240" in str(refusal.value)

    def test_photos_of_their_own_sizes_are_each_tried(self) -> None:
        own = self.pan(None)
        photos = [Photo(str(side), Path("is nowhere"), (side, side)) for side in (512, 64, 256)]
        with pytest.raises(InputError, match="cannot take 1 photo of 64x64 in evaluation"):
            require_sizes(Ensemble([own], CPU, tta="none"), photos)


class TestPhotos:
    sizes = ((20, 30), (20, 30), (30, 20), (20, 30), (20, 30), (20, 30), (17, 33))

    @pytest.mark.parametrize("image_size", [None, (16, 16)])
    @pytest.mark.parametrize(("batch_size", "workers"), [(1, 0), (2, 0), (100, 0), (2, 2)])
    def test_photos_are_predicted_once_each_in_order_and_at_their_own_size(
        self, draw: Callable[..., list[Photo]], image_size: Size | None, batch_size: int, workers: int
    ) -> None:
        photos = draw(*self.sizes)
        found = predictions([member(RampNet(), image_size)], photos, batch_size, workers)
        assert [prediction.photo for prediction in found] == photos
        for at, (photo, probability_HW, votes_HW, photo_sha256) in enumerate(found):
            assert photo_sha256 == sha256(photo.path)
            seen = resize(noise(photo.size, at), image_size or photo.size)
            expected = bilinear(ramp_probabilities(seen), photo.size)
            assert np.allclose(probability_HW.numpy(), expected, atol=1e-5)
            assert np.array_equal(votes_HW.numpy(), probability_HW.numpy() >= 0.5)

    @pytest.mark.parametrize("workers", [0, 2])
    def test_each_network_sees_photos_at_each_of_its_sizes(
        self, draw: Callable[..., list[Photo]], workers: int
    ) -> None:
        scales = (0.5, 1.0, 1.5)
        members = [member(RampNet(), (40, 56), multiple=32), member(RampNet()), member(RampNet(), (64, 96))]
        (found,) = predictions(members, draw((127, 191)), workers=workers, tta="hflip", scales=scales)
        expected = [scaled_mean(noise((127, 191)), size, "hflip", scales) for size in ((40, 56), None, (64, 96))]
        assert np.allclose(found.probability_HW.numpy(), np.mean(expected, axis=0), atol=1e-5)

    def test_without_photos_there_are_no_predictions(self) -> None:
        assert predictions([member(RampNet())], []) == []

    def test_a_network_votes_at_the_threshold_of_the_ensemble(self, draw: Callable[..., list[Photo]]) -> None:
        members = [member(Constant(logit)) for logit in (-1.0, 0.0, 2.0, 3.0)]  # 0.269, 0.5, 0.881 and 0.953
        (found,) = predictions(members, draw((4, 6)), threshold=0.85)
        assert found.votes_HW.tolist() == [[2] * 6] * 4


class TestBrokenPhotos:
    def broken(self, photo: Photo) -> None:
        photo.path.write_bytes(photo.path.read_bytes()[:200])

    @pytest.mark.parametrize("workers", [0, 1])
    def test_photos_that_cannot_be_read_are_named_in_their_place(
        self, draw: Callable[..., list[Photo]], workers: int
    ) -> None:
        photos = draw(*[(8, 8)] * 5)
        for at in (2, 3):
            self.broken(photos[at])
        found = predictions([member(RampNet())], photos, 2, workers)
        assert [prediction.photo for prediction in found] == photos
        for at in (2, 3):
            assert found[at] == Unreadable(
                photos[at], f"{photos[at].path}: not a photo that can be read; fetch it again"
            )
        assert [isinstance(prediction, Prediction) for prediction in found] == [True, True, False, False, True]

    @pytest.mark.parametrize("workers", [0, 1])
    @pytest.mark.parametrize("net", ["a U-Net", "one that counts its batch"])
    def test_a_broken_photo_does_not_change_the_bits_of_the_others_in_its_batch(
        self, draw: Callable[..., list[Photo]], net: str, workers: int
    ) -> None:
        photos = draw(*[(20, 30)] * 5)
        members = [unet() if net == "a U-Net" else member(BatchNet())]
        whole = predictions(members, photos, 3, workers, scales=(0.5, 1.0))
        self.broken(photos[1])
        found = predictions(members, photos, 3, workers, scales=(0.5, 1.0))
        assert isinstance(found.pop(1), Unreadable)
        assert all(same_bits(*pair) for pair in zip(found, [whole[0], *whole[2:]], strict=True))

    def test_a_photo_that_has_changed_its_size_is_named(self, draw: Callable[..., list[Photo]], tmp_path: Path) -> None:
        photos = draw((20, 30), (20, 30))
        save_photo(tmp_path, "p1", noise((30, 20)))
        found = predictions([member(RampNet())], photos, 2)
        changed = f"{photos[1].path}: changed while it was being worked on"
        assert isinstance(found[0], Prediction)
        assert found[1] == Unreadable(photos[1], changed)


class TestBatches:
    @pytest.mark.parametrize("workers", [0, 2])
    @pytest.mark.parametrize("net", ["a U-Net", "one that counts its batch"])
    def test_a_batch_has_the_same_bits_whether_all_or_only_some_are_asked_for(
        self, draw: Callable[..., list[Photo]], net: str, workers: int
    ) -> None:
        photos = draw(*[(20, 30)] * 7, *[(30, 20)] * 2)
        ensemble = Ensemble([unet() if net == "a U-Net" else member(BatchNet())], CPU, tta="hflip")
        batches = equal_size_batches(photos, 3)
        assert batches == [[0, 1, 2], [3, 4, 5], [6], [7, 8]]
        everything = list(predict(ensemble, photos, batches, workers=workers))
        some = list(predict(ensemble, photos, [batches[3], batches[1]], workers=workers))
        assert [prediction.photo for prediction in some] == [photos[at] for at in (7, 8, 3, 4, 5)]
        assert all(same_bits(one, everything[at]) for one, at in zip(some, (7, 8, 3, 4, 5), strict=True))

    def test_a_batch_goes_through_the_networks_in_the_order_that_is_given(
        self, draw: Callable[..., list[Photo]]
    ) -> None:
        photos = draw(*[(1, 2)] * 3)
        for photo in photos:
            save_photo(photo.path.parent, photo.stem, np.zeros((1, 2, 3), dtype=np.uint8))
        found = predict(Ensemble([member(BatchNet())], CPU, tta="none"), photos, [[2, 0], [1]], workers=0)
        # Logits of two photos: 0.2 and 0.21; of one: 0.1.
        assert {prediction.photo.stem: prediction.probability_HW[0, 0].item() for prediction in found} == {
            "p2": pytest.approx(1 / (1 + np.exp(-0.2))),
            "p0": pytest.approx(1 / (1 + np.exp(-0.21))),
            "p1": pytest.approx(1 / (1 + np.exp(-0.1))),
        }


class TestMemory:
    def test_photos_are_read_only_as_they_are_asked_for(
        self, draw: Callable[..., list[Photo]], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        read = []

        def reading(path: Path, shrink: int) -> np.ndarray:
            read.append(path)
            return read_photo(path, shrink)

        monkeypatch.setattr(datasets, "read_photo", reading)
        photos = draw(*[(8, 8)] * 20)
        ensemble = Ensemble([member(RampNet())], CPU, tta="hflip")
        predicted = predict(ensemble, photos, equal_size_batches(photos, 3), workers=0)
        assert read == []
        for done, _ in enumerate(predicted, start=1):
            assert len(read) <= done + 2  # the rest of the batch
        assert len(read) == 20

    def test_no_more_than_two_batches_are_held_in_memory(
        self, draw: Callable[..., list[Photo]], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        held: list[weakref.ref] = []

        def watched(*arguments: Any) -> Mix:
            mix = called(*arguments)
            held.extend([weakref.ref(mix.probability_BCHW), weakref.ref(mix.votes_BCHW)])
            return mix

        called = Ensemble.__call__
        monkeypatch.setattr(Ensemble, "__call__", watched)
        photos = draw(*[(8, 8)] * 20)
        ensemble = Ensemble([member(RampNet())], CPU, tta="none")
        for _ in predict(ensemble, photos, equal_size_batches(photos, 2), workers=0):
            assert sum(tensor() is not None for tensor in held) <= 4
        assert len(held) == 20

    def test_predictions_prepare_no_gradient(self, draw: Callable[..., list[Photo]]) -> None:
        (found,) = predictions([member(nn.Conv2d(3, 1, 1))], draw((8, 8)), tta="flips")
        assert not found.probability_HW.requires_grad

    @pytest.mark.parametrize("batch_size", [1, 3])
    def test_a_photo_that_does_not_fit_is_named_with_what_helps(
        self, draw: Callable[..., list[Photo]], batch_size: int
    ) -> None:
        class Large(nn.Module):
            def forward(self, images_BCHW: Tensor) -> Tensor:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB.\nMore.")

        with pytest.raises(InputError) as refusal:
            predictions([member(Large())], draw(*[(20, 30)] * batch_size), batch_size)
        assert str(refusal.value) == (
            "out of memory with photos of 20x30, 1 at once (CUDA out of memory. Tried to allocate 9 GiB.); "
            "train a model with a smaller --image-size or --width"
        )

    @pytest.mark.parametrize(
        "error",
        [
            torch.OutOfMemoryError("CUDA out of memory."),
            RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
            RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
            RuntimeError("MPS backend out of memory (MPS allocated: 9.0 GB)"),
        ],
        ids=lambda error: str(error)[:24],
    )
    def test_a_batch_that_does_not_fit_is_taken_in_halves_and_masked_as_if_it_did(
        self, error: RuntimeError, draw: Callable[..., list[Photo]], capsys: pytest.CaptureFixture[str]
    ) -> None:
        """As after the last epoch, when hours of training would be lost."""
        tried: list[int] = []

        class ForTwo(RampNet):
            def forward(self, images_BCHW: Tensor) -> Tensor:
                tried.append(len(images_BCHW))
                if len(images_BCHW) > 2:
                    raise error
                return super().forward(images_BCHW)

        output.warn_once.cache_clear()
        photos = draw(*[(20, 30)] * 5)
        found = predictions([member(ForTwo())], photos, 5)
        assert tried == [5, 2, 3, 1, 2]
        for one, whole in zip(found, predictions([member(RampNet())], photos, 5), strict=True):
            assert one.photo is whole.photo
            torch.testing.assert_close(one.probability_HW, whole.probability_HW, rtol=0, atol=1e-6)
        said = capsys.readouterr().err.splitlines()
        assert [line.partition(" photos")[0] for line in said] == [f"warning: out of memory with {n}" for n in (5, 3)]

    def test_where_there_is_no_float64_predictions_come_to_the_cpu(
        self, draw: Callable[..., list[Photo]], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """As from Apple's GPUs: what follows adds up in float64."""
        fetched: list[Tensor] = []
        monkeypatch.setattr(prediction_module, "has_float64", lambda _: False)
        monkeypatch.setattr(Tensor, "cpu", lambda tensor: fetched.append(tensor) or tensor)
        (found,) = predictions([member(RampNet())], draw((8, 8)))
        assert len(fetched) == 2
        assert found.probability_HW.dtype == torch.float32


class Crowded(nn.Module):
    """A network whose device runs out of memory as long as another one is there; each is told of its being there."""

    def __init__(self, there: set[int]) -> None:
        super().__init__()
        self.there = there
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, images_BCHW: Tensor) -> Tensor:
        if len(self.there) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return images_BCHW[:, :1].float() * 0 + self.weight

    def to(self, device: object = None, **_: object) -> "Crowded":  # type: ignore[override]
        if str(device) == "cpu":
            self.there.discard(id(self))
        return self


class TestNetworksThatDoNotFitTogether:
    """Networks that fit on the device together, but not with a photo beside them."""

    @pytest.fixture
    def ensemble(self) -> Ensemble:
        there: set[int] = set()
        members = [member(Crowded(there)) for _ in range(2)]
        for one in members:
            one.model.to = one.model.net.to  # type: ignore[method-assign]
        ensemble = Ensemble(members, CPU, tta="none")
        there |= {id(one.model.net) for one in members}
        return ensemble

    def test_networks_that_do_not_fit_together_with_a_photo_work_in_turn(
        self, ensemble: Ensemble, draw: Callable[..., list[Photo]]
    ) -> None:
        (found,) = predict(ensemble, draw((8, 8)), [[0]], workers=0)
        assert ensemble.in_turn
        assert found.probability_HW.unique().tolist() == [0.5]

    def test_a_batch_of_several_photos_is_halved_before_networks_work_in_turn(
        self, ensemble: Ensemble, draw: Callable[..., list[Photo]]
    ) -> None:
        found = list(predict(ensemble, draw((8, 8), (8, 8)), [[0, 1]], workers=0))
        assert ensemble.in_turn
        assert [one.probability_HW.unique().tolist() for one in found] == [[0.5], [0.5]]


class TestBatchSize:
    def test_on_the_cpu_the_batch_size_is_1(self, draw: Callable[..., list[Photo]]) -> None:
        ensemble = Ensemble([member(RampNet())], CPU, tta="none")
        assert batch_size_that_fits(ensemble, draw(*[(8, 8)] * 20)) == 1
        assert batch_size_that_fits(ensemble, []) == 1

    @pytest.fixture
    def tried(self, monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, Size]]:
        """What was tried on a GPU that holds 100,000 pixels."""
        tried: list[tuple[int, Size]] = []

        def attempt(_: Any, batch_size: int, size: Size) -> None:
            tried.append((batch_size, size))
            if batch_size * size[0] * size[1] > 100_000:
                raise torch.OutOfMemoryError("CUDA out of memory.")

        monkeypatch.setattr(prediction_module, "_try", attempt)
        return tried

    def test_a_size_is_tried_with_black_photos_twice_as_one_mix_is_written_during_the_next(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        ensemble = Ensemble([member(RampNet(), (16, 24)), member(RampNet())], CPU, tta="none")
        seen: list[list[tuple[int, ...]]] = []

        def mix(_: Ensemble, photos_at: Any, own_size: Size) -> None:
            assert own_size == (20, 30)
            assert not any(photos.any() for photos in photos_at.values())
            seen.append(sorted(tuple(photos.shape) for photos in photos_at.values()))

        monkeypatch.setattr(Ensemble, "__call__", mix)
        prediction_module._try(ensemble, 2, (20, 30))
        assert seen == [[(2, 3, 16, 24), (2, 3, 20, 30)]] * 2

    def fitting(self, *sizes: Size) -> int:
        return self.fitting_for(16, (1.0,), *sizes)

    def fitting_for(self, width: int, scales: tuple[float, ...], *sizes: Size) -> int:
        """On a GPU, for a U-Net of this width."""
        photos = [Photo("a", Path("a.png"), size) for size in sizes]
        one = replace(member(nn.Identity()), card=card_of(None, architecture=Architecture(width=width)))
        inputs = [InputSize(one.card.image_size, scale) for scale in scales]
        ensemble = SimpleNamespace(device=torch.device("cuda"), members=[one], inputs_of=lambda _: inputs)
        return batch_size_that_fits(ensemble, photos)  # type: ignore[arg-type]

    def test_on_a_gpu_the_batch_size_is_the_largest_power_of_two_that_fits(self, tried: list[tuple[int, Size]]) -> None:
        assert self.fitting((100, 150)) == 4
        assert tried == [(size, (100, 150)) for size in (1, 2, 4, 8)]

    def test_the_largest_photo_decides_the_batch_size(self, tried: list[tuple[int, Size]]) -> None:
        assert self.fitting((9, 900), (200, 200), (20, 1000)) == 2
        assert {size for _, size in tried} == {(200, 200)}

    def test_a_gpu_that_does_not_hold_one_photo_is_refused(self, tried: list[tuple[int, Size]]) -> None:
        with pytest.raises(
            InputError, match=r"^out of memory with photos of 400x300, 1 at once \(CUDA out of memory\.\); train"
        ):
            self.fitting((400, 300))

    @pytest.mark.parametrize(("size", "largest"), [((1280, 1918), 8), ((1281, 1918), 4), ((10, 10), 64)])
    def test_the_batch_size_holds_no_more_pixels_than_its_limit(
        self, monkeypatch: pytest.MonkeyPatch, size: Size, largest: int
    ) -> None:
        monkeypatch.setattr(prediction_module, "_try", lambda *_: None)
        assert self.fitting(size) == largest

    @pytest.mark.parametrize(
        ("width", "scales", "largest"),
        [
            (16, (1.0,), 8),
            (64, (1.0,), 4),  # 8 photos: 8 * 2 * 64 * 1280 * 1920 = 1.17 * 2**31
            (64, (1.0, 2.0), 1),  # 2 photos at twice the size: the same
            (300, (2.0,), 1),  # one photo is tried in any case
        ],
    )
    def test_no_tensor_has_2_to_the_31_elements(
        self, monkeypatch: pytest.MonkeyPatch, width: int, scales: tuple[float, ...], largest: int
    ) -> None:
        monkeypatch.setattr(prediction_module, "_try", lambda *_: None)
        assert self.fitting_for(width, scales, (1280, 1918)) == largest


def test_probabilities_are_rounded_to_bytes() -> None:
    assert as_bytes(torch.tensor([[0.0, 0.501 / 255, 0.499 / 255, 1.0]])).tolist() == [[0, 1, 0, 255]]

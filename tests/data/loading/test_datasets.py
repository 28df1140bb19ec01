from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from noise import SIZE, mask_pixels, photo_pixels, with_classes
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from kaggle_tools.data.images import read_photo, resize, write_mask
from kaggle_tools.data.listing import Photo
from kaggle_tools.data.loading import datasets
from kaggle_tools.data.loading.augment import Augmenter
from kaggle_tools.data.loading.datasets import (
    AugmentedPhotos,
    EpochSampler,
    MaskedPhotos,
    ResizedPhotos,
    equal_size_batches,
)
from kaggle_tools.data.loading.fitting import InputSize
from kaggle_tools.data.loading.workers import loader
from kaggle_tools.system.files import sha256


class TestMaskedPhotos:
    @pytest.mark.parametrize("size", [None, SIZE])
    def test_masked_photos_of_their_own_size_are_what_is_in_the_files(
        self, photos: list[Photo], size: tuple[int, int] | None
    ) -> None:
        photo, mask = MaskedPhotos(photos, size)[3]
        assert (photo.dtype, mask.dtype) == (torch.uint8, torch.uint8)
        assert np.array_equal(photo.permute(1, 2, 0).numpy(), photo_pixels(3))
        assert np.array_equal(mask.numpy(), mask_pixels(3)[None] * np.uint8(255))

    def test_masked_photos_of_a_smaller_size_are_averages_of_the_pixels_that_fall_together(
        self, photos: list[Photo]
    ) -> None:
        photo, mask = MaskedPhotos(photos, (15, 11))[3]
        assert (photo.shape, photo.dtype) == ((3, 15, 11), torch.uint8)
        assert (mask.shape, mask.dtype) == ((1, 15, 11), torch.uint8)
        colours = photo_pixels(3).reshape(15, 2, 11, 4, 3).mean(axis=(1, 3)).transpose(2, 0, 1)
        covered = mask_pixels(3).reshape(15, 2, 11, 4).mean(axis=(1, 3))
        assert np.abs(photo.numpy() - colours).max() <= 0.5
        assert np.abs(mask.numpy()[0] - 255 * covered).max() <= 0.5
        assert len(mask.unique()) > 2

    def test_the_masked_photos_are_as_many_as_the_photos(self, photos: list[Photo]) -> None:
        assert (
            len(MaskedPhotos(photos, None))
            == len(AugmentedPhotos(MaskedPhotos(photos, None), Augmenter("none", 0)))
            == 7
        )


class TestAugmentedPhotos:
    def test_augmentation_none_gives_the_photo_of_the_index_as_it_is(self, photos: list[Photo]) -> None:
        plain = MaskedPhotos(photos, (15, 11))
        for got, wanted in zip(AugmentedPhotos(plain, Augmenter("none", seed=0))[2, 5], plain[5], strict=True):
            assert torch.equal(got, wanted)

    def test_an_augmented_photo_depends_on_the_epoch(self, photos: list[Photo]) -> None:
        augmented = AugmentedPhotos(MaskedPhotos(photos, None), Augmenter("seed", seed=0))
        assert torch.equal(augmented[0, 5][0], augmented[0, 5][0])
        assert not torch.equal(augmented[0, 5][0], augmented[1, 5][0])

    def test_an_augmented_photo_keeps_its_shape_and_type(self, photos: list[Photo]) -> None:
        photo, mask = AugmentedPhotos(MaskedPhotos(photos, (15, 11)), Augmenter("mild", seed=0))[0, 0]
        assert (photo.shape, photo.dtype) == ((3, 15, 11), torch.uint8)
        assert (mask.shape, mask.dtype) == ((1, 15, 11), torch.uint8)


class TestClasses:
    def test_a_photo_has_the_masks_of_all_classes_in_their_order(self, photos: list[Photo]) -> None:
        several = MaskedPhotos([with_classes(photos[:6])], (15, 11))
        photo, masks = several[0]
        alone = [MaskedPhotos([one], (15, 11))[0] for one in photos[:6]]
        assert torch.equal(photo, alone[0][0])
        assert torch.equal(masks, torch.cat([mask for _, mask in alone]))

    @pytest.mark.parametrize("augmentation", ["hflip", "mild", "seed"])
    def test_all_masks_are_changed_as_the_photo_is(self, photos: list[Photo], augmentation: str) -> None:
        several = MaskedPhotos([with_classes(photos[:6])], (15, 11))
        _, masks = AugmentedPhotos(several, Augmenter(augmentation, seed=3))[1, 0]
        for at, one in enumerate(photos[:6]):
            alone = MaskedPhotos([replace(photos[0], mask=one.mask)], (15, 11))
            assert torch.equal(masks[at], AugmentedPhotos(alone, Augmenter(augmentation, seed=3))[1, 0][1][0])


def sampler(photos: Sequence[object], *, seed: int = 0, replicas: int = 1, rank: int = 0) -> EpochSampler:
    return EpochSampler(photos, num_replicas=replicas, rank=rank, shuffle=True, seed=seed)


class TestEpochSampler:
    def test_an_epoch_samples_each_photo_once_and_is_given_with_each_index(self) -> None:
        drawn = sampler(range(20))
        for epoch in range(3):
            drawn.set_epoch(epoch)
            keys = list(drawn)
            assert {named for named, _ in keys} == {epoch}
            assert sorted(index for _, index in keys) == list(range(20))

    def test_every_epoch_samples_in_another_order(self) -> None:
        drawn = sampler(range(20))
        orders = []
        for epoch in (0, 1, 0):
            drawn.set_epoch(epoch)
            orders.append([index for _, index in drawn])
        assert orders[0] == orders[2] != orders[1]

    def test_the_order_of_an_epoch_depends_on_the_seed(self) -> None:
        assert list(sampler(range(20), seed=1)) == list(sampler(range(20), seed=1))
        assert list(sampler(range(20), seed=1)) != list(sampler(range(20), seed=2))

    def test_each_photo_of_an_epoch_goes_to_one_of_several_devices(self) -> None:
        shares = [list(sampler(range(20), replicas=2, rank=rank)) for rank in (0, 1)]
        assert [len(share) for share in shares] == [10, 10]
        assert sorted(index for share in shares for _, index in share) == list(range(20))


class TestWorkers:
    def batches(self, photos: list[Photo], workers: int) -> list[list[Tensor]]:
        """Two epochs, drawn with workers that live through both."""
        augmented = AugmentedPhotos(MaskedPhotos(photos, (15, 22)), Augmenter("seed", seed=4))
        drawn = sampler(augmented, seed=4)
        batches = loader(augmented, workers=workers, sampler=drawn, batch_size=2)
        found = []
        for epoch in (0, 1):
            drawn.set_epoch(epoch)
            found += list(batches)
        return found

    def test_augmentation_in_worker_processes_is_that_of_a_single_process(self, photos: list[Photo]) -> None:
        alone, shared = self.batches(photos, 0), self.batches(photos, 2)
        assert len(alone) == len(shared) == 2 * 4
        for one, two in zip(alone, shared, strict=True):
            assert torch.equal(one[0], two[0])
            assert torch.equal(one[1], two[1])

    def test_augmentation_in_worker_processes_differs_from_photo_to_photo_and_epoch_to_epoch(
        self, photos: list[Photo]
    ) -> None:
        seen = {photo.numpy().tobytes() for photo_B3HW, _ in self.batches(photos, 2) for photo in photo_B3HW}
        assert len(seen) == 2 * len(photos)


class TestInputSize:
    @pytest.mark.parametrize(
        ("size", "scale", "own_size", "found"),
        [
            (None, 1.0, (1280, 1918), (1280, 1918)),
            ((160, 240), 1.0, (1280, 1918), (160, 240)),
            ((160, 240), 0.75, (1280, 1918), (120, 180)),
            (None, 0.5, (1279, 1917), (640, 958)),  # 639.5 and 958.5 to the even one
            (None, 1.25, (9, 11), (11, 14)),  # 11.25 and 13.75
            (None, 0.01, (40, 300), (1, 3)),
        ],
    )
    def test_the_input_size_is_the_given_or_the_photos_own_size_times_the_scale(
        self, size: tuple[int, int] | None, scale: float, own_size: tuple[int, int], found: tuple[int, int]
    ) -> None:
        assert InputSize(size, scale).of(own_size) == found


@pytest.fixture
def jpeg(tmp_path: Path) -> Photo:
    """A photo of 64x96 without sharp edges."""
    rows, columns = np.indices((64, 96))
    waves = [np.sin(rows / 9 + columns / 7), np.cos(rows / 11), np.sin(columns / 13 - rows / 8)]
    pixels = (127 + 100 * np.stack(waves, axis=-1)).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "p.jpg", quality=95)
    return Photo("p", tmp_path / "p.jpg", (64, 96))


class TestResizedPhotos:
    def test_a_resized_photo_comes_at_each_of_the_sizes(self, photos: list[Photo]) -> None:
        sizes = [InputSize((15, 11)), InputSize(None), InputSize(None, 0.5)]
        (small, own, half), error, _ = ResizedPhotos(photos, sizes)[2]
        assert error == ""
        assert (small.shape, small.dtype, own.dtype) == ((3, 15, 11), torch.uint8, torch.uint8)
        assert np.array_equal(own.permute(1, 2, 0).numpy(), photo_pixels(2))
        assert torch.equal(small, MaskedPhotos(photos, (15, 11))[2][0])
        assert torch.equal(half, MaskedPhotos(photos, (15, 22))[2][0])

    def test_the_resized_photos_are_as_many_as_the_photos(self, photos: list[Photo]) -> None:
        assert len(ResizedPhotos(photos, [InputSize(None)])) == 7

    def test_a_photo_that_changed_its_size_meanwhile_is_named(self, photos: list[Photo]) -> None:
        Image.fromarray(photo_pixels(2)[:20]).save(photos[2].path)
        tensors, error, photo_sha256 = ResizedPhotos(photos, [InputSize(None), InputSize((15, 11))])[2]
        assert photo_sha256 == ""
        assert error == f"{photos[2].path}: changed while it was being worked on"
        assert [(tensor.shape, int(tensor.max())) for tensor in tensors] == [((3, *SIZE), 0), ((3, 15, 11), 0)]

    @pytest.mark.parametrize("workers", [0, 1])
    def test_a_photo_that_cannot_be_read_is_named_and_black(self, photos: list[Photo], workers: int) -> None:
        photos[1].path.write_bytes(b"\xff\xd8 cut off")
        sizes = [InputSize(None), InputSize(None, 1.5)]
        batches = loader(ResizedPhotos(photos[:3], sizes), workers=workers, batch_size=3)
        (((own, large), errors, hashes),) = batches
        assert list(hashes) == [sha256(photos[0].path), "", sha256(photos[2].path)]
        assert list(errors) == ["", f"{photos[1].path}: not a photo that can be read; fetch it again", ""]
        assert (own.shape, large.shape) == ((3, 3, 30, 44), (3, 3, 45, 66))
        assert (own.dtype, large.dtype) == (torch.uint8, torch.uint8)
        assert (int(own[1].max()), int(large[1].max())) == (0, 0)
        assert np.array_equal(own[2].permute(1, 2, 0).numpy(), photo_pixels(2))

    def test_the_hash_is_that_of_the_photo_from_before_it_was_decoded(
        self, jpeg: Photo, photos: list[Photo], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """So the mask of a photo that is replaced in between is never noted as that of the new one."""
        before, other = sha256(jpeg.path), photos[0].path.read_bytes()

        def replaced(path: Path, shrink: int) -> NDArray[np.uint8]:
            jpeg.path.write_bytes(other)
            return read_photo(path, shrink)

        monkeypatch.setattr(datasets, "read_photo", replaced)
        (_, _, found) = ResizedPhotos([replace(jpeg, size=SIZE)], [InputSize(None)])[0]
        assert found == before != sha256(jpeg.path)

    def test_a_photo_is_decoded_once_for_all_sizes_to_which_the_decoder_shrinks_it_alike(
        self, jpeg: Photo, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        decoded: list[int] = []
        monkeypatch.setattr(
            datasets, "read_photo", lambda path, shrink: decoded.append(shrink) or read_photo(path, shrink)
        )
        wanted = {(64, 96): 1, (40, 60): 1, (20, 30): 2, (30, 40): 2, (8, 12): 8, (7, 9): 8}
        tensors, error, _ = ResizedPhotos([jpeg], [InputSize(size) for size in wanted])[0]
        assert error == ""
        assert sorted(decoded) == [1, 2, 8]
        for tensor, (size, shrink) in zip(tensors, wanted.items(), strict=True):
            assert np.array_equal(tensor.permute(1, 2, 0).numpy(), resize(read_photo(jpeg.path, shrink), size))

    def test_training_sees_a_photo_as_masking_does(self, jpeg: Photo, tmp_path: Path) -> None:
        write_mask(tmp_path / "mask.png", mask_pixels(0, (64, 96)))
        masked = MaskedPhotos([Photo("p", jpeg.path, jpeg.size, tmp_path / "mask.png")], (16, 24))
        ((small,), *_) = ResizedPhotos([jpeg], [InputSize((16, 24))])[0]
        assert torch.equal(masked[0][0], small)
        assert torch.equal(small, torch.from_numpy(read_photo(jpeg.path, 4)).permute(2, 0, 1))


class TestEqualSizeBatches:
    def batches(self, sizes: str, batch_size: int) -> list[list[int]]:
        shapes = {"a": (10, 20), "b": (20, 10), "c": (10, 10)}
        photos = [Photo(str(at), Path(f"{at}.png"), shapes[size]) for at, size in enumerate(sizes)]
        return equal_size_batches(photos, batch_size)

    def test_a_batch_ends_where_the_size_changes(self) -> None:
        assert self.batches("aaabac", 2) == [[0, 1], [2], [3], [4], [5]]

    def test_photos_of_equal_size_make_full_batches_and_a_rest(self) -> None:
        assert self.batches("aaaaaaa", 3) == [[0, 1, 2], [3, 4, 5], [6]]

    def test_no_photos_make_no_batches(self) -> None:
        assert self.batches("", 3) == []


def test_padded_photos_and_masks_lie_in_the_middle(photos: list[Photo]) -> None:
    """Of 30x44 pixels: in 40x60 there are 5 rows and 8 columns on either side."""
    photo, mask = MaskedPhotos(photos, (40, 60), fit="pad")[3]
    own_photo, own_mask = MaskedPhotos(photos, None)[3]
    assert torch.equal(photo[:, 5:35, 8:52], own_photo)
    assert torch.equal(mask[:, 5:35, 8:52], own_mask)
    ((padded,), *_) = ResizedPhotos(photos, [InputSize((40, 60), fit="pad")])[3]
    assert torch.equal(padded, photo)

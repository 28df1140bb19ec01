import inspect
import os
import random
import subprocess
import sys
from typing import get_args

import albumentations
import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from kaggle_tools.config.training import Augmentation
from kaggle_tools.data.loading.augment import TRANSFORMS, Augmenter, flipped_axes

Pixels = NDArray[np.uint8]
CHANGING = sorted(TRANSFORMS.keys() - {"none"})


def draw() -> tuple[Pixels, Pixels]:
    """A photo whose red channel is its mask: a lopsided shape with soft edges, off the middle."""
    mask = np.zeros((61, 93), np.uint8)
    cv2.ellipse(mask, (35, 25), (24, 11), 20, 0, 360, 255, -1, cv2.LINE_AA)
    cv2.rectangle(mask, (50, 30), (70, 45), 255, -1)
    mask = cv2.blur(mask, (3, 3))
    others = np.random.default_rng(0).integers(0, 256, (61, 93, 2), dtype=np.uint8)
    return np.dstack([mask, others]), mask


@pytest.mark.parametrize("name", TRANSFORMS)
def test_augmentation_keeps_shapes_and_types(name: str) -> None:
    photo, mask = Augmenter(name, seed=0)(*draw(), epoch=0, index=0)
    assert (photo.shape, photo.dtype) == ((61, 93, 3), np.uint8)
    assert (mask.shape, mask.dtype) == ((61, 93), np.uint8)


def test_augmentation_none_changes_nothing() -> None:
    photo, mask = Augmenter("none", seed=0)(*draw(), epoch=3, index=5)
    assert np.array_equal(photo, draw()[0])
    assert np.array_equal(mask, draw()[1])


@pytest.mark.parametrize("name", CHANGING)
def test_augmentation_depends_on_seed_epoch_and_index_alone(name: str) -> None:
    first = Augmenter(name, seed=3)
    other = Augmenter(name, seed=3)  # as in another worker, which has seen other photos before
    np.random.seed(1)
    random.seed(1)
    wanted = first(*draw(), epoch=2, index=7)
    for index in range(5):
        other(*draw(), epoch=0, index=index)
    np.random.seed(2)
    random.seed(2)
    for augmenter in (other, first):
        again = augmenter(*draw(), epoch=2, index=7)
        assert all(np.array_equal(one, two) for one, two in zip(wanted, again, strict=True))


@pytest.mark.parametrize("name", CHANGING)
def test_another_epoch_photo_or_seed_gives_another_augmentation(name: str) -> None:
    def drawn(seed: int, epoch: int, index: int) -> bytes:
        return Augmenter(name, seed)(*draw(), epoch, index)[0].tobytes()

    kinds = {"hflip": 2}.get(name, 20)  # a flip or none; `mild` may leave a photo as it is
    assert len({drawn(0, epoch, 0) for epoch in range(30)}) >= kinds
    assert len({drawn(0, 0, index) for index in range(30)}) >= kinds
    assert len({drawn(seed, 0, 0) for seed in range(30)}) >= kinds


def test_swapping_epoch_and_index_gives_another_augmentation() -> None:
    augment = Augmenter("seed", seed=0)
    assert not np.array_equal(augment(*draw(), epoch=1, index=2)[0], augment(*draw(), epoch=2, index=1)[0])


@pytest.mark.parametrize("name", CHANGING)
def test_augmentation_moves_photo_and_mask_together(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    moves = [transform for transform in TRANSFORMS[name] if isinstance(transform, albumentations.DualTransform)]
    monkeypatch.setitem(TRANSFORMS, name, moves)
    augment = Augmenter(name, seed=0)
    moved = 0
    for index in range(40):
        photo, mask = augment(*draw(), epoch=0, index=index)
        assert np.abs(photo[..., 0].astype(int) - mask).max() <= 1
        moved += not np.array_equal(mask, draw()[1])
    assert moved >= 10


def test_a_rotated_mask_keeps_its_soft_edge() -> None:
    _, mask = Augmenter("seed", seed=0)(*draw(), epoch=0, index=0)
    assert len(np.unique(mask)) > 10


def test_augmentation_changes_colours_of_the_photo_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    colours = [transform for transform in TRANSFORMS["mild"] if not isinstance(transform, albumentations.DualTransform)]
    monkeypatch.setitem(TRANSFORMS, "mild", colours)
    augment = Augmenter("mild", seed=0)
    changed = 0
    for index in range(20):
        photo, mask = augment(*draw(), epoch=0, index=index)
        assert np.array_equal(mask, draw()[1])
        changed += not np.array_equal(photo, draw()[0])
    assert changed >= 8


def test_flips_are_as_frequent_as_their_probability(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TRANSFORMS, "mild", [albumentations.HorizontalFlip(p=0.5)])
    augment = Augmenter("mild", seed=0)
    flipped = [
        not np.array_equal(augment(*draw(), epoch, index)[1], draw()[1]) for epoch in (0, 1) for index in range(200)
    ]
    assert sum(flipped) == pytest.approx(200, abs=40)  # four standard deviations
    assert flipped[:200] != flipped[200:]


def test_preset_seed_flips_and_turns_by_up_to_35_degrees() -> None:
    left_right, upside_down, turn = TRANSFORMS["seed"]
    assert (type(left_right), left_right.p) == (albumentations.HorizontalFlip, 0.5)
    assert (type(upside_down), upside_down.p) == (albumentations.VerticalFlip, 0.1)
    assert (type(turn), turn.p, turn.limit) == (albumentations.Rotate, 1.0, (-35, 35))


def test_the_winners_set_never_turns_a_photo_upside_down() -> None:
    assert not any(isinstance(transform, albumentations.VerticalFlip) for transform in TRANSFORMS["mild"])


def test_every_name_of_a_configuration_has_its_transforms() -> None:
    assert set(get_args(Augmentation)) == TRANSFORMS.keys()


def test_importing_augmentations_opens_no_connection() -> None:
    code = inspect.cleandoc("""
        import socket
        asked = []
        socket.getaddrinfo = lambda *where, **_: asked.append(where) or []
        import kaggle_tools.data.loading.augment
        print(asked)
    """)
    environment = {name: value for name, value in os.environ.items() if name != "NO_ALBUMENTATIONS_UPDATE"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def smaller(size: tuple[int, int]) -> tuple[int, int]:
    return min(size[0], 20), min(size[1], 30)


def test_a_crop_is_the_same_part_of_photo_and_mask_and_holds_some_foreground() -> None:
    augment, parts = Augmenter("none", 0, smaller), set()
    for index in range(60):
        photo, mask = augment(*draw(), epoch=0, index=index)
        assert (photo.shape, mask.shape) == ((20, 30, 3), (20, 30))
        assert np.array_equal(photo[:, :, 0], mask)
        assert mask.any()
        parts.add(photo.tobytes())
    assert len(parts) > 50


def test_a_crop_of_a_photo_without_foreground_is_anywhere() -> None:
    photo, _ = draw()
    augment, blank = Augmenter("none", 0, smaller), np.zeros((61, 93), np.uint8)
    parts = {augment(photo, blank, epoch=0, index=index)[0].tobytes() for index in range(60)}
    assert len(parts) > 50


def test_photos_that_are_not_larger_than_the_crop_stay_whole() -> None:
    photo, mask = draw()
    augment = Augmenter("none", 0, smaller)
    for height, width in ((20, 30), (12, 93), (61, 25)):
        cropped, _ = augment(photo[:height, :width].copy(), mask[:height, :width].copy(), epoch=0, index=0)
        assert cropped.shape == (min(height, 20), min(width, 30), 3)


@pytest.mark.parametrize(("name", "axes"), [("none", set()), ("hflip", {-1}), ("mild", {-1}), ("seed", {-1, -2})])
def test_the_axes_that_an_augmentation_flips_are_those_of_its_photos(name: str, axes: set[int]) -> None:
    assert flipped_axes(name) == axes

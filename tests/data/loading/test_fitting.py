import numpy as np
import pytest
import torch

from kaggle_tools.data.images import Size
from kaggle_tools.data.loading.fitting import Frame, InputSize, fitted, frame_of


@pytest.mark.parametrize(
    ("own_size", "size", "frame"),
    [
        ((101, 101), (128, 128), Frame(13, 13, 101, 101)),
        ((101, 101), (256, 256), Frame(27, 27, 202, 202)),
        ((101, 101), (101, 101), Frame(0, 0, 101, 101)),
        ((1280, 1918), (512, 512), Frame(85, 0, 342, 512)),
        ((20, 30), (64, 96), Frame(2, 3, 60, 90)),
        ((1, 4000), (16, 16), Frame(7, 0, 1, 16)),
    ],
)
def test_a_padded_photo_keeps_its_shape_and_is_enlarged_by_whole_numbers_only(
    own_size: Size, size: Size, frame: Frame
) -> None:
    assert frame_of(own_size, size, "pad") == frame
    assert frame_of(own_size, size, "stretch") == Frame(0, 0, *size)


def test_what_is_missing_around_a_padded_photo_is_reflected() -> None:
    pixels_HW = np.array([[1, 2, 3], [4, 5, 6]], dtype=np.uint8)
    padded = fitted(pixels_HW, (5, 6), Frame(1, 2, 2, 3))
    assert padded.tolist() == [
        [6, 5, 4, 5, 6, 5],
        [3, 2, 1, 2, 3, 2],
        [6, 5, 4, 5, 6, 5],
        [3, 2, 1, 2, 3, 2],
        [6, 5, 4, 5, 6, 5],
    ]


def test_a_photo_that_fills_the_input_is_only_resized() -> None:
    pixels_HW3 = np.full((4, 6, 3), 7, dtype=np.uint8)
    assert fitted(pixels_HW3, (8, 12), Frame(0, 0, 8, 12)).shape == (8, 12, 3)


def test_the_frame_is_cut_from_the_answers() -> None:
    maps = torch.arange(30).view(1, 1, 5, 6)
    assert Frame(1, 2, 2, 3).cut(maps).tolist() == [[[[8, 9, 10], [14, 15, 16]]]]


def test_the_frame_of_a_scaled_input_is_that_of_its_size() -> None:
    assert InputSize((128, 128), scale=2, fit="pad").frame((101, 101)) == Frame(27, 27, 202, 202)
    assert InputSize(None, scale=0.5, fit="pad").frame((100, 60)) == Frame(0, 0, 50, 30)

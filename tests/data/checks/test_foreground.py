from io import BytesIO

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from kaggle_tools.data.checks import foreground
from kaggle_tools.data.checks.foreground import foreground_of, lines_of_ambiguous

# Two rows of three pixels, of which these are foreground.
WANTED = [[0, 1, 1], [0, 0, 1]]


def drawn(background: object, ink: object, dtype: type = np.uint8) -> Image.Image:
    """An image of the wanted mask, in these two colours or values."""
    return Image.fromarray(np.array([[ink if one else background for one in row] for row in WANTED], dtype))


def paletted(*colours: tuple[int, int, int], indices: list[list[int]] = WANTED) -> Image.Image:
    image = Image.fromarray(np.array(indices, np.uint8), "P")
    image.putpalette([channel for colour in colours for channel in colour])
    return image


def reread(image: Image.Image, kind: str, **options: object) -> Image.Image:
    file = BytesIO()
    image.save(file, kind, **options)
    return Image.open(file)


def found_in(image: Image.Image) -> tuple[list[list[int]], str]:
    mask_HW, taken = foreground_of(image)
    assert mask_HW.dtype == bool
    return mask_HW.astype(int).tolist(), taken


BLACK, WHITE = (0, 0, 0), (255, 255, 255)

PLAIN = {
    "one bit a pixel": drawn(False, True, bool),
    "grey": drawn(0, 255),
    "grey, 1 for foreground": drawn(0, 1),
    "16 bits": drawn(0, 65535, np.uint16),
    "16 bits, 1 for foreground": drawn(0, 1, np.uint16),
    "32 bits": drawn(0, 70000, np.int32),
    "floating point": drawn(0, 1, np.float32),
    "floating point, far below 1": drawn(0, 0.001, np.float32),
    "colours": drawn(BLACK, WHITE),
    "dark red": drawn(BLACK, (1, 0, 0)),  # of brightness 0.3, which Pillow rounds down
    "dark blue": drawn(BLACK, (0, 0, 4)),
    "palette": paletted(BLACK, WHITE),
    "palette with a dark ink": paletted(BLACK, (0, 0, 1)),
    "palette with one ink of many": paletted(BLACK, WHITE, (128, 0, 0), indices=[[0, 2, 2], [0, 0, 2]]),
    "palette, black at its end": paletted(BLACK, BLACK, WHITE, indices=[[1, 2, 2], [1, 1, 2]]),
    "transparent white": drawn((255, 255, 255, 0), (255, 255, 255, 255)),
    "black on nothing": drawn((0, 0, 0, 0), (0, 0, 0, 255)),
    "black on transparent white": drawn((255, 255, 255, 0), (0, 0, 0, 255)),
    "white on nothing": drawn((0, 0, 0, 0), (255, 255, 255, 255)),
    "opaque colours": drawn((0, 0, 0, 255), (255, 255, 255, 255)),
    "grey with transparency": drawn((0, 0), (0, 255)),
}


@pytest.mark.parametrize("image", PLAIN.values(), ids=PLAIN)
def test_a_plain_mask_is_read_without_a_word_whatever_its_kind(image: Image.Image) -> None:
    assert found_in(image) == (WANTED, "")


@pytest.mark.parametrize(
    ("image", "taken"),
    [
        (drawn(1, 2), foreground.HIGHER),
        (drawn(100, 200), foreground.HIGHER),
        (drawn(-1, 0, np.int32), foreground.HIGHER),
        (drawn((0, 0, 255), (255, 0, 0)), foreground.HIGHER),  # red is brighter than blue
        (paletted(WHITE, BLACK), foreground.DARKER),
        (drawn((255, 255, 255, 40), (255, 255, 255, 200)), foreground.HIGHER),
    ],
    ids=["1 and 2", "two greys", "negative", "two colours", "reversed palette", "half transparent"],
)
def test_of_two_values_the_one_that_was_taken_is_named_where_neither_is_nothing(image: Image.Image, taken: str) -> None:
    assert found_in(image) == (WANTED, taken)


@pytest.mark.parametrize(
    ("image", "mask", "taken"),
    [
        (Image.fromarray(np.array([[0, 127, 128, 255]], np.uint8)), [[0, 0, 1, 1]], foreground.HALF),
        (Image.fromarray(np.array([[0, 50, 51, 100]], np.uint8)), [[0, 0, 1, 1]], foreground.HALF),
        (Image.fromarray(np.array([[0, 32767, 32768, 65535]], np.uint16)), [[0, 0, 1, 1]], foreground.HALF),
        (Image.fromarray(np.array([[0, 0.5, 0.51, 1]], np.float32)), [[0, 0, 1, 1]], foreground.HALF),
        (Image.fromarray(np.array([[0, 1, 2, 31]], np.uint8)), [[0, 1, 1, 1]], foreground.CLASSES),
        (Image.fromarray(np.array([[0, 1, 2, 32]], np.uint8)), [[0, 0, 0, 1]], foreground.HALF),
        (Image.fromarray(np.array([[[1] * 3, [2] * 3, [4, 0, 0], [0] * 3]], np.uint8)), [[1, 1, 1, 0]], "CLASSES"),
        (Image.fromarray(np.array([[BLACK, (255, 0, 0), (0, 255, 0)]], np.uint8)), [[0, 1, 1]], foreground.COLOURS),
        (paletted(BLACK, (128, 0, 0), (0, 128, 0), indices=[[0, 1, 2]]), [[0, 1, 1]], foreground.INDICES),
        (paletted(BLACK, (9, 0, 0), (0, 9, 0), indices=[[1, 1, 2]]), [[1, 1, 1]], foreground.INDICES),
        (paletted(BLACK, (90,) * 3, WHITE, indices=[[0, 1, 2]]), [[0, 0, 1]], foreground.HALF),  # grey all the same
        (paletted(WHITE, BLACK, indices=[[0, 0, 0]]), [[1, 1, 1]], foreground.ONLY),
        (
            Image.fromarray(np.array([[(9, 9, 9, 0), (0, 0, 0, 255), (255, 255, 255, 255)]], np.uint8)),
            [[0, 0, 1]],
            foreground.VISIBLE,
        ),
    ],
)
def test_of_more_values_it_is_said_which_were_taken(image: Image.Image, mask: list[list[int]], taken: str) -> None:
    assert found_in(image) == (mask, getattr(foreground, taken, taken))


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "LA", "I;16", "F"])
@pytest.mark.parametrize("full", [False, True])
def test_a_blank_mask_and_a_full_one_are_plain(mode: str, full: bool) -> None:
    with Image.new("L", (4, 3), 255 * full) as image:
        if mode == "P":
            image = paletted(BLACK, WHITE, indices=[[int(full)] * 4] * 3)
        elif mode == "I;16":
            image = Image.fromarray(np.full((3, 4), 9 * full, np.uint16))
        else:
            image = image.convert(mode)
        assert found_in(image) == ([[int(full)] * 4] * 3, "")


@pytest.mark.parametrize("hidden", [(255, 255, 255), (0, 0, 0)], ids=["white", "black"])
def test_where_nothing_is_visible_nothing_is_foreground(hidden: tuple[int, int, int]) -> None:
    assert found_in(drawn((*hidden, 0), (*hidden, 0))) == ([[0] * 3] * 2, "")


@pytest.mark.parametrize("kind", ["GIF", "TIFF", "PNG"])
def test_that_only_the_first_of_several_images_is_read_is_said(kind: str) -> None:
    blank = Image.new("L", (3, 2))
    first = reread(drawn(0, 255), kind, save_all=True, append_images=[blank])
    assert found_in(first) == (WANTED, foreground.FIRST)
    grey = reread(Image.fromarray(np.array([[0, 99, 255]], np.uint8)), kind, save_all=True, append_images=[blank])
    assert found_in(grey)[1] == f"{foreground.HALF}; {foreground.FIRST}"


def disc(size: int = 200) -> NDArray[np.bool_]:
    rows, columns = np.indices((size, size)) - size / 2
    return rows**2 + columns**2 < (size * 0.3) ** 2


@pytest.mark.parametrize("spoilt", ["blurred", "as a JPEG", "noisy"])
def test_neither_a_blurred_edge_nor_the_noise_of_a_jpeg_changes_the_area(spoilt: str) -> None:
    pixels_HW = disc().astype(np.uint8) * np.uint8(255)
    if spoilt == "blurred":
        pixels_HW = np.asarray(cv2.GaussianBlur(pixels_HW, (0, 0), 3), np.uint8)
    if spoilt == "noisy":
        noise_HW = np.random.default_rng(0).integers(0, 9, pixels_HW.shape, dtype=np.uint8)
        pixels_HW = np.where(disc(), 255 - noise_HW, noise_HW)
    image = Image.fromarray(pixels_HW)
    mask_HW, taken = foreground_of(reread(image, "JPEG", quality=60) if spoilt == "as a JPEG" else image)
    assert taken == foreground.HALF
    assert abs(mask_HW.mean() - disc().mean()) < 0.002
    assert (pixels_HW > 0).mean() > disc().mean() + 0.02 or spoilt == "as a JPEG"  # as it was counted before


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_pixels_that_are_no_numbers_are_refused(value: float) -> None:
    with pytest.raises(ValueError, match="pixels are NaN or infinite"):
        foreground_of(Image.fromarray(np.array([[0, value, 1]], np.float32)))


@pytest.mark.parametrize("dtype", [np.float32, np.int32])
def test_logarithms_and_other_values_of_which_none_is_above_0_are_refused(dtype: type) -> None:
    with pytest.raises(ValueError, match="no pixel is above 0"):
        foreground_of(Image.fromarray(np.array([[-9, -5, -1]], dtype)))


@pytest.mark.parametrize("suffix", ["gif", "png"])
def test_a_palette_that_a_file_brings_along_is_read_by_its_indices(suffix: str) -> None:
    image = reread(paletted((0, 0, 0), (0, 0, 200)), suffix.upper())
    assert image.mode == "P"
    assert found_in(image) == (WANTED, "")


def test_a_palette_with_a_transparent_colour_is_read_by_what_is_visible() -> None:
    image = reread(paletted(WHITE, BLACK), "PNG", transparency=0)
    assert found_in(image) == (WANTED, "")


def test_masks_that_are_not_plain_are_counted_for_each_way_of_reading_them() -> None:
    names = {foreground.HALF: ["a.png", "b.png", "c.png", "d.png"], foreground.DARKER: ["e.gif"]}
    assert lines_of_ambiguous(names, 9) == [
        "4 of 9 masks are not plainly black and white: a.png, b.png, c.png and 1 more; "
        "taken as foreground: values above half of the highest",
        "1 of 9 masks is not plainly black and white: e.gif; "
        "taken as foreground: indices of the palette above 0, though index 0 is brighter",
    ]

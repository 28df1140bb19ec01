import base64
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from kaggle_tools.data.draw_outlines import FALSE_NEGATIVE, FALSE_POSITIVE, PREDICTED, TRUE
from kaggle_tools.data.images import resize, write_mask
from kaggle_tools.report.graphics.pictures import (
    PhotoFiles,
    Picture,
    data_uri,
    draw,
    pictures,
)

Mask, Pixels, Span = NDArray[np.bool_], NDArray[np.uint8], tuple[int, int]
GRAY = 100
TRUTH = ["..........", ".XXXXX....", ".XXXXX....", ".XXXXX....", ".XXXXX....", ".XXXXX....", "..........", "X........."]
FOUND = ["..........", "...XXXXXXX", "...XXXXXXX", "...XXXXXXX", "...X.XXXXX", "...XXXXXXX", "...XXXXXXX", "...XXXXXXX"]


def gray(height: int, width: int) -> Pixels:
    return np.full((height, width, 3), GRAY, dtype=np.uint8)


def waves(height: int, width: int) -> Pixels:
    """Gray that goes up and down, so that no pixel is like its neighbours."""
    down, along = (127 * abs(np.arange(length) % 32 / 16 - 1) for length in (height, width))
    return (down[:, None, None] + along[None, :, None]).astype(np.uint8).repeat(3, axis=2)


def mask(rows: list[str]) -> Mask:
    return np.array([[letter == "X" for letter in row] for row in rows])


def box(size: Span, rows: Span = (0, 0), columns: Span = (0, 0)) -> Mask:
    mask_HW = np.zeros(size, dtype=bool)
    mask_HW[slice(*rows), slice(*columns)] = True
    return mask_HW


def letters(drawn: Pixels) -> list[str]:
    """On gray t, p: outlines of the true and the predicted mask; n, o: false negative and false positive pixels."""
    mixed = [tuple(int(0.35 * GRAY + 0.65 * part) for part in mark.colour) for mark in (FALSE_NEGATIVE, FALSE_POSITIVE)]
    known = dict(zip([(GRAY,) * 3, TRUE.colour, PREDICTED.colour, *mixed], ".tpno", strict=True))
    return ["".join(known.get(tuple(map(int, pixel)), "?") for pixel in row) for row in drawn]


def decoded(uri: str) -> tuple[str, Pixels]:
    """What the address says that it is, and the pixels."""
    head, _, content = uri.partition(";base64,")
    with Image.open(io.BytesIO(base64.b64decode(content, validate=True))) as image:
        assert head == f"data:{image.get_format_mimetype()}"
        return head, np.asarray(image)


def save(folder: Path, photo_HW3: Pixels, predicted_HW: Mask, truth_HW: Mask | None = None) -> PhotoFiles:
    Image.fromarray(photo_HW3).save(folder / "photo.png")
    write_mask(folder / "predicted.png", predicted_HW)
    if truth_HW is not None:
        write_mask(folder / "truth.png", truth_HW)
    truth = None if truth_HW is None else folder / "truth.png"
    return PhotoFiles("car_01", "Dice 0.9", folder / "photo.png", folder / "predicted.png", truth)


def show(folder: Path, photo_HW3: Pixels, predicted_HW: Mask, truth_HW: Mask | None = None) -> Picture:
    (picture,) = pictures([save(folder, photo_HW3, predicted_HW, truth_HW)])
    return picture


def test_outlines_and_wrong_pixels_are_drawn_where_they_are() -> None:
    assert letters(draw(gray(8, 10), mask(FOUND), mask(TRUTH), 10)) == [
        "..........",
        ".ttppppppp",
        ".tnp.tooop",
        ".tnpptooop",
        ".tnpnpooop",  # with a hole in the predicted mask
        ".ttpptooop",
        "...pooooop",
        "t..ppppppp",
    ]


def test_without_the_truth_only_the_predicted_outline_is_drawn() -> None:
    assert letters(draw(gray(4, 6), box((4, 6), (0, 3), (1, 5)), None, 6)) == [".pppp.", ".p..p.", ".pppp.", "......"]


def test_the_photo_of_a_picture_is_left_as_it_was() -> None:
    photo_HW3 = gray(8, 10)
    draw(photo_HW3, mask(FOUND), mask(TRUTH), 10)
    assert (photo_HW3 == GRAY).all()


@pytest.mark.parametrize(("own_width", "width"), [(1920, 960), (1918, 960), (1918, 320), (7680, 320)])
def test_single_wrong_pixels_survive_shrinking(own_width: int, width: int) -> None:
    truth_HW = np.ones((own_width // 16, own_width), dtype=bool)
    rows, columns = np.random.default_rng(1).integers(5, (len(truth_HW) // 5 - 5, own_width // 5 - 5), (40, 2)).T * 5
    predicted_HW = truth_HW.copy()
    predicted_HW[rows, columns] = False
    drawn = draw(gray(*truth_HW.shape), predicted_HW, truth_HW, width)
    at = (rows * 2 + 1) * len(drawn) // (2 * len(truth_HW)), (columns * 2 + 1) * width // (2 * own_width)
    assert letters(drawn[at][None]) == ["n" * 40]


def test_wrong_pixels_of_an_enlarged_photo_stay_squares() -> None:
    drawn = draw(gray(5, 8), box((5, 8)), box((5, 8), (1, 3), (2, 5)), 8 * 40)
    found = np.argwhere((drawn != GRAY).any(axis=2))
    assert [*found.min(axis=0), *found.max(axis=0), len(found)] == [40, 80, 119, 199, 80 * 120]


@pytest.mark.parametrize(
    ("own", "full"),
    [
        ((40, 2000), (19, 960)),
        ((40, 961), (40, 960)),
        ((40, 960), (40, 960)),
        ((40, 500), (40, 500)),
        ((40, 320), (40, 320)),
        ((40, 319), (80, 638)),
        ((60, 90), (240, 360)),
        ((3, 1), (960, 320)),
    ],
)
def test_larger_views_are_neither_too_wide_nor_too_small(own: Span, full: Span, tmp_path: Path) -> None:
    picture = show(tmp_path, gray(*own), box(own))
    assert decoded(picture.full)[1].shape == (*full, 3)
    assert decoded(picture.thumbnail)[1].shape[1] == 320


def test_wrong_pixels_are_counted_where_the_truth_is_known(tmp_path: Path) -> None:
    size = (60, 90)
    predicted_HW, truth_HW = box(size, (10, 50), (30, 83)), box(size, (10, 50), (20, 80))
    assert show(tmp_path, gray(*size), predicted_HW, truth_HW).errors == "400 false negative, 120 false positive pixels"
    assert show(tmp_path, gray(*size), box(size), truth_HW).errors == "2,400 false negative, 0 false positive pixels"
    assert show(tmp_path, gray(*size), predicted_HW).errors == ""


@pytest.mark.parametrize(
    ("name", "damage", "message"),
    [
        ("photo", Path.unlink, "cannot be read"),
        ("photo", lambda path: path.write_bytes(path.read_bytes()[:60]), "not a photo that can be read"),
        ("predicted", Path.unlink, "not a mask that can be read"),
        ("predicted", lambda path: path.write_bytes(b"GIF89a"), "not a mask that can be read"),
        ("truth", lambda path: path.write_bytes(b""), "not a mask that can be read"),
        ("photo", lambda path: Image.new("RGB", (10, 7)).save(path), "has another size than its mask"),
        ("predicted", lambda path: Image.new("1", (10, 7)).save(path), "has another size than its mask"),
        ("truth", lambda path: Image.new("1", (8, 10)).save(path), "has another size than its mask"),
    ],
)
def test_a_picture_of_damaged_files_says_what_is_wrong(
    name: str, damage: Callable[[Path], object], message: str, tmp_path: Path
) -> None:
    files = save(tmp_path, gray(8, 10), mask(FOUND), mask(TRUTH))
    (whole,) = pictures([files])
    damage(tmp_path / f"{name}.png")
    (damaged,) = pictures([files])
    assert message in damaged.errors
    assert str(tmp_path) in damaged.errors
    assert (whole.stem, whole.caption) == (damaged.stem, damaged.caption) == ("car_01", "Dice 0.9")
    assert (bool(whole.full), damaged.full, damaged.thumbnail) == (True, "", "")


@pytest.mark.parametrize(
    ("rows", "columns", "cut"),  # a tenth larger than the mask and of the photo's shape: 44 of 400 and 88 of 800
    [
        ((100, 140), (600, 680), np.s_[98:142, 596:684]),
        ((100, 140), (300, 310), np.s_[98:142, 261:349]),
        ((100, 104), (300, 380), np.s_[80:124, 296:384]),
        ((360, 400), (0, 80), np.s_[356:400, 0:88]),
        ((0, 400), (0, 10), np.s_[:, :]),
        ((0, 0), (0, 0), np.s_[:, :]),
    ],
)
def test_thumbnails_are_cut_around_the_mask(
    rows: Span, columns: Span, cut: tuple[slice, slice], tmp_path: Path
) -> None:
    photo_HW3 = waves(400, 800)
    _, thumbnail = decoded(show(tmp_path, photo_HW3, box((400, 800), rows, columns)).thumbnail)
    apart = np.abs(thumbnail.astype(float) - resize(photo_HW3[cut], (160, 320)))
    assert np.median(apart) < 4  # what a JPEG loses; a cut that is off by one has 7


def test_thumbnails_hold_errors_outside_the_predicted_mask_too(tmp_path: Path) -> None:
    size = (400, 800)
    truth_HW = box(size, (20, 60), (30, 90))
    _, thumbnail = decoded(show(tmp_path, gray(*size), box(size, (300, 340), (600, 680)), truth_HW).thumbnail)
    red, green, blue = np.moveaxis(thumbnail.astype(int), 2, 0)
    assert ((red > green + 40) & (green > blue + 40)).sum() > 200  # orange


@pytest.mark.parametrize("pixels", [waves(16, 24) // 2 + np.arange(3, dtype=np.uint8), waves(16, 24)[..., 0]])
def test_a_png_holds_the_very_pixels(pixels: Pixels) -> None:
    kind, found = decoded(data_uri(pixels))
    assert kind == "data:image/png"
    assert np.array_equal(found, pixels)


def test_a_jpeg_is_as_good_as_wanted() -> None:
    pixels = np.linspace(0, 255, 80 * 60 * 3).reshape(80, 60, 3).astype(np.uint8)
    (kind, good), (_, poor) = (decoded(data_uri(pixels, quality)) for quality in (95, 10))
    assert kind == "data:image/jpeg"
    far, further = (np.abs(found.astype(int) - pixels).mean() for found in (good, poor))
    assert far < 1.5 < further


@pytest.mark.parametrize(
    ("size", "shape"), [((9000, 1), (3840, 1)), ((9000, 2000), (3840, 853)), ((1, 9000), (1, 960))]
)
def test_a_photo_of_a_strange_shape_is_drawn_no_higher_than_four_times_as_wide_as_a_page(
    size: tuple[int, int], shape: tuple[int, int]
) -> None:
    drawn = draw(np.zeros((*size, 3), np.uint8), np.zeros(size, bool), None, 960)
    assert drawn.shape == (*shape, 3)

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
from kaggle_tools.report.graphics.marks import HALO, HALO_OPACITY
from kaggle_tools.report.graphics.pictures import (
    MOST_CHARACTERS,
    Gallery,
    PhotoFiles,
    Picture,
    data_uri,
    draw,
    pictures,
    reasons,
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
    """On gray t, p: outlines of the true and the predicted mask, h: halo; n, o: false negative and positive pixels."""
    mixed = [tuple(int(0.35 * GRAY + 0.65 * part) for part in mark.colour) for mark in (FALSE_NEGATIVE, FALSE_POSITIVE)]
    halo = tuple(int((1 - HALO_OPACITY) * GRAY + HALO_OPACITY * part) for part in HALO)
    known = dict(zip([(GRAY,) * 3, TRUE.colour, PREDICTED.colour, halo, *mixed], ".tphno", strict=True))
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
        "hhhhhhhhhh",
        "httppppppp",
        "htnphtooop",
        "htnpptooop",
        "htnpnpooop",  # with a hole in the predicted mask
        "httpptooop",
        "hhhpooooop",
        "thhppppppp",
    ]


def test_without_the_truth_only_the_predicted_outline_is_drawn() -> None:
    assert letters(draw(gray(4, 6), box((4, 6), (0, 3), (1, 5)), None, 6)) == ["hpppph", "hphhph", "hpppph", "hhhhhh"]


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
    found = np.argwhere([[letter in "nt" for letter in row] for row in letters(drawn)])
    assert [*found.min(axis=0), *found.max(axis=0), len(found)] == [40, 80, 119, 199, 80 * 120]


@pytest.mark.parametrize(
    ("own", "full", "layer", "thumbnail"),  # a photo of at most 2,500,000 pixels is shown as it is
    [
        ((1280, 1918), (1280, 1918), (641, 960), (214, 320)),
        ((40, 961), (40, 961), (40, 960), (13, 320)),
        ((40, 960), (40, 960), (40, 960), (13, 320)),
        ((40, 319), (40, 319), (80, 638), (40, 320)),
        ((60, 90), (60, 90), (240, 360), (213, 320)),
        ((3, 1), (3, 1), (960, 320), (321, 107)),
        ((900, 600), (900, 600), (900, 600), (320, 213)),
        ((2000, 5000), (1000, 2500), (384, 960), (128, 320)),
    ],
)
def test_photos_are_shown_at_their_own_pixels_and_what_is_drawn_at_the_size_of_a_window(
    own: Span, full: Span, layer: Span, thumbnail: Span, tmp_path: Path
) -> None:
    picture = show(tmp_path, gray(*own), box(own))
    assert decoded(picture.full)[1].shape == (*full, 3)
    assert picture.size == full
    assert picture.share == full[1] / own[1]
    assert decoded(picture.layer)[1].shape == layer
    assert decoded(picture.thumbnail)[1].shape == (*thumbnail, 3)
    if full[1] > 960:
        assert decoded(picture.own_layer)[1].shape == full
    else:
        assert picture.own_layer == ""


def test_the_layers_of_a_photo_are_drawn_each_at_its_own_size(tmp_path: Path) -> None:
    """An outline is one pixel wide in either, and a single wrong pixel at least one."""
    own = (1200, 1920)
    truth_HW = box(own, (200, 1000), (400, 1600))
    predicted_HW = truth_HW.copy()
    predicted_HW[600, 1000] = False
    picture = show(tmp_path, gray(*own), predicted_HW, truth_HW)
    for layer, row, column in ((picture.own_layer, 600, 1000), (picture.layer, 300, 500)):
        with Image.open(io.BytesIO(base64.b64decode(layer.partition(",")[2]))) as image:
            pixels = np.asarray(image.convert("RGBA"))
        assert tuple(pixels[row, column, :3]) == FALSE_NEGATIVE.colour
        line = pixels[row - 50]
        drawn = [(tuple(pixel[:3]), pixel[3]) for pixel in line[line[:, 3] > 0]]
        halo = (HALO, round(255 * HALO_OPACITY))
        assert drawn == [halo, (PREDICTED.colour, 255), halo] * 2


def test_a_photo_whose_details_take_too_much_room_is_shown_smaller(tmp_path: Path) -> None:
    noise_HW3 = np.random.default_rng(0).integers(0, 256, (900, 1500, 3)).astype(np.uint8)
    picture = show(tmp_path, noise_HW3, box((900, 1500)))
    assert picture.size == (576, 960)
    assert picture.share == 0.64
    soft_HW3 = resize(noise_HW3[:40, :60], (1200, 1800))
    picture = show(tmp_path, soft_HW3, box((1200, 1800)))
    assert 960 < picture.size[1] < 1800
    assert picture.size[1] / picture.size[0] == pytest.approx(1.5, abs=0.01)
    assert 0.7 * MOST_CHARACTERS < len(picture.full) <= MOST_CHARACTERS


def test_a_small_photo_loses_nothing(tmp_path: Path) -> None:
    photo_HW3 = waves(101, 101)
    kind, pixels = decoded(show(tmp_path, photo_HW3, box((101, 101), (20, 60), (30, 70))).full)
    assert kind == "data:image/png"
    assert np.array_equal(pixels, photo_HW3)


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
    assert (bool(whole.full), bool(whole.layer)) == (True, True)
    assert (damaged.full, damaged.layer, damaged.thumbnail) == ("", "", "")


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


@pytest.mark.parametrize(
    ("height", "cut"),  # 10 wide, the other part has 150 or 160 pixels: less than a twentieth of 40 * 80, or not
    [(15, np.s_[98:142, 596:684]), (16, np.s_[0:358, 0:715])],
)
def test_thumbnails_are_cut_around_the_mask_in_spite_of_stray_pixels(
    height: int, cut: tuple[slice, slice], tmp_path: Path
) -> None:
    photo_HW3 = waves(400, 800)
    mask_HW = box((400, 800), (100, 140), (600, 680)) | box((400, 800), (20, 20 + height), (30, 40))
    mask_HW[[395, 3], [5, 790]] = True
    _, thumbnail = decoded(show(tmp_path, photo_HW3, mask_HW).thumbnail)
    apart = np.abs(thumbnail.astype(float) - resize(photo_HW3[cut], (160, 320)))
    assert np.median(apart) < 4


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


def test_a_lossy_image_is_as_good_as_wanted() -> None:
    pixels = np.linspace(0, 255, 80 * 60 * 3).reshape(80, 60, 3).astype(np.uint8)
    (kind, good), (_, poor) = (decoded(data_uri(pixels, quality)) for quality in (95, 10))
    assert kind == "data:image/webp"
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


def test_why_pictures_are_not_shown_is_counted_with_the_file_of_one_of_each_kind() -> None:
    found = [
        Picture("a", "", "", thumbnail="data:"),
        Picture("b", "", "photos/b.jpg: missing"),
        Picture("c", "", "photos/c.jpg: is no longer what it was"),
        Picture("d", "", "photos/d.jpg: missing"),
    ]
    expected = [(2, "photos/b.jpg: missing"), (1, "photos/c.jpg: is no longer what it was")]
    assert reasons(found) == Gallery("all", found).not_shown == expected

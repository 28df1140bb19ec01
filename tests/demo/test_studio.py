from dataclasses import replace

import cv2
import numpy as np
import pytest

from kaggle_tools.demo import studio
from kaggle_tools.demo.cars import SHAPES, Car
from kaggle_tools.demo.studio import View

SIZE = (96, 143)
PLAIN = View(grain=0.0)
EVERY_SHAPE = pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.name)


def grown(mask, pixels=1):
    return cv2.dilate(mask.astype(np.uint8), np.ones((3, 3), np.uint8), iterations=pixels) > 0


@pytest.fixture
def draw_before(monkeypatch):
    """Draw in a studio whose wall and floor are of one grey."""

    def draw(level, car, view):
        monkeypatch.setattr(studio, "WALL_COLOUR", (level,) * 3)
        monkeypatch.setattr(studio, "FLOOR_COLOUR", (level,) * 3)
        return studio.draw(car, view, SIZE)

    return draw


def test_photo_and_mask_have_the_asked_size_even_where_it_is_tall():
    photo, mask = studio.draw(Car(SHAPES[0]), View(), (71, 48))

    assert (photo.shape, photo.dtype, mask.shape, mask.dtype) == ((71, 48, 3), np.uint8, (71, 48), bool)


@EVERY_SHAPE
@pytest.mark.parametrize("angle", [0, 70, 200])
def test_the_mask_is_what_stays_when_the_studio_is_painted_black(shape, angle, draw_before):
    car, view = Car(shape, roof_rails=True, antenna=True), replace(PLAIN, angle=angle)

    white, mask = draw_before(0.9, car, view)
    black, same_mask = draw_before(0.0, car, view)

    changed = (white != black).any(axis=2)
    assert (mask == same_mask).all()
    assert changed[~mask].all()
    assert np.count_nonzero(changed[~grown(~mask)]) <= 2  # gaps below half a pixel, as between a mirror and the door


@EVERY_SHAPE
def test_a_pixel_belongs_to_the_mask_if_at_least_half_of_it_is_car(shape, draw_before):
    view = replace(PLAIN, angle=90)
    grey, mask = draw_before(0.8, Car(shape), view)
    black, _ = draw_before(0.0, Car(shape), view)
    shine = (grey.astype(int) - black).sum(2)

    # At either bumper there is floor behind, even over a few pixels, which shines through as far as there is no car.
    row = int(np.argmin(np.where(mask.any(axis=1), mask.argmax(axis=1), SIZE[1])))
    for line, shining in ((mask[row], shine[row]), (mask[row, ::-1], shine[row, ::-1])):
        edge = int(np.argmax(line))
        assert shining[edge] <= 0.52 * shining[edge - 3]
        assert shining[edge - 1] >= 0.48 * shining[edge - 3]


@EVERY_SHAPE
def test_a_car_seen_from_the_left_is_the_mirror_image_of_one_seen_from_the_right(shape):
    car = Car(shape, roof_rails=True)
    _, left = studio.draw(car, replace(PLAIN, angle=50), SIZE)
    _, right = studio.draw(car, replace(PLAIN, angle=-50), SIZE)

    assert np.count_nonzero(left != right[:, ::-1]) < 0.01 * np.count_nonzero(left)


@EVERY_SHAPE
def test_a_car_has_no_holes(shape):
    for angle in (0, 45, 90, 135, 180):
        _, mask = studio.draw(Car(shape), replace(PLAIN, angle=angle), SIZE)
        pieces, _ = cv2.connectedComponents(mask.astype(np.uint8))
        # Everything that is not car hangs together, so no floor shows through its middle.
        surroundings, _ = cv2.connectedComponents(np.pad(~mask, 1, constant_values=True).astype(np.uint8))
        assert (pieces, surroundings) == (2, 2)


def test_a_side_view_takes_the_asked_share_of_the_width_in_the_middle_of_the_photo():
    _, mask = studio.draw(Car(SHAPES[0]), replace(PLAIN, angle=90, fill=0.8), (320, 500))

    columns, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
    assert abs(len(columns) - 400) <= 2
    assert abs(columns[[0, -1]].mean() - 249.5) <= 1
    assert abs(rows[[0, -1]].mean() - 159.5) <= 1


def test_a_front_view_takes_the_asked_share_of_four_fifths_of_the_height():
    _, mask = studio.draw(Car(SHAPES[3]), replace(PLAIN, fill=0.5), (500, 900))

    assert abs(np.count_nonzero(mask.any(axis=1)) - 200) <= 2


def test_off_centre_by_all_the_room_brings_the_car_to_the_edge():
    _, mask = studio.draw(Car(SHAPES[0]), replace(PLAIN, off_centre=(1.0, 1.0), fill=0.6), (200, 300))

    columns, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
    assert 298 <= columns[-1] <= 299
    assert 198 <= rows[-1] <= 199
    assert abs(len(rows) - 0.6 * 0.8 * 200) <= 2


def test_a_metre_at_the_axis_is_focal_over_distance_pixels():
    # Turned by 90 degrees the camera looks along y, and x grows to the left.
    view = replace(PLAIN, angle=90)
    camera = studio.aim(Car(SHAPES[0]), view, SIZE)
    middle = SHAPES[0].length / 2
    pixels, distances = camera.project(np.array([[middle, 0, view.camera_height], [middle - 1, 0, view.camera_height]]))

    assert distances == pytest.approx([studio.DISTANCE] * 2)
    assert pixels[0] == pytest.approx(camera.centre)
    assert pixels[1] - pixels[0] == pytest.approx([camera.focal / studio.DISTANCE, 0])


def test_the_shadow_is_dark_and_not_part_of_the_mask():
    photo, mask = studio.draw(Car(SHAPES[0]), replace(PLAIN, angle=90), (200, 300))

    middle = 150
    below_sill = np.flatnonzero(mask[:, middle])[-1] + 3
    assert not mask[below_sill:, middle].any()
    assert photo[below_sill, middle].mean() < 0.7 * photo[-5, middle].mean()


def test_neighbouring_views_of_a_car_differ():
    masks = [studio.draw(Car(SHAPES[0]), replace(PLAIN, angle=22.5 * i), SIZE)[1] for i in range(16)]

    for i, mask in enumerate(masks):
        assert np.count_nonzero(mask != masks[i - 1]) > 0.02 * np.count_nonzero(mask)


def test_grain_has_the_asked_deviation_and_leaves_the_mask_alone():
    clean, mask = studio.draw(Car(SHAPES[0]), replace(PLAIN, balance=(0.7, 0.7, 0.7)), SIZE)
    noisy, same_mask = studio.draw(Car(SHAPES[0]), replace(PLAIN, balance=(0.7, 0.7, 0.7), grain=0.02), SIZE)

    bright = clean > 60  # away from black, where the noise is cut off
    assert np.std(noisy[bright].astype(float) - clean[bright]) == pytest.approx(0.02 * 255, rel=0.03)
    assert (mask == same_mask).all()

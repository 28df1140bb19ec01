from dataclasses import replace

import numpy as np
import pytest

from kaggle_tools.demo import cars
from kaggle_tools.demo.cars import SHAPES, Car

EVERY_SHAPE = pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.name)


def corners_of(car):
    return np.concatenate([faces.corners.reshape(-1, 3) for faces in cars.faces_of(car)])


def test_the_same_random_source_gives_the_same_car_and_another_source_another_car():
    first, again, other = (cars.random_car(np.random.default_rng(seed)) for seed in (1, 1, 2))

    assert first == again != other


def test_every_shape_is_below_the_lowest_camera_and_drawn_by_some_seed():
    drawn = [cars.random_car(np.random.default_rng(seed)) for seed in range(60)]

    assert {car.shape.name for car in drawn} == {shape.name for shape in SHAPES}
    assert all(max(z for _, z in car.shape.hood) * car.stretch[2] < 1.3 for car in drawn)


@EVERY_SHAPE
def test_a_car_is_as_long_as_its_shape_and_stands_on_the_floor_astride_the_middle(shape):
    low, high = corners_of(Car(shape, roof_rails=True)).min(axis=0), corners_of(Car(shape, roof_rails=True)).max(axis=0)

    assert (low[0], high[0]) == pytest.approx((0, shape.length), abs=0.01)
    assert low[1] == pytest.approx(-high[1])
    assert shape.width / 2 < high[1] < 0.65 * shape.width  # with the mirrors
    assert low[2] == pytest.approx(0, abs=0.01)


def test_stretching_a_car_moves_every_corner_of_its_faces():
    car = Car(SHAPES[0], antenna=True)
    stretched = replace(car, stretch=(1.05, 0.96, 1.02))

    assert corners_of(stretched) == pytest.approx(corners_of(car) * stretched.stretch)
    assert stretched.footprint == pytest.approx((4.75 * 1.05, 1.83 * 0.96))


@EVERY_SHAPE
def test_normals_of_faces_are_perpendicular_and_of_length_one(shape):
    for faces in cars.faces_of(Car(shape, roof_rails=True, antenna=True)):
        lengths = np.linalg.norm(faces.normals, axis=1)
        quarter = faces.corners.shape[1] // 4
        diagonals = faces.corners[:, 2 * quarter] - faces.corners[:, 0]

        assert ((np.abs(lengths - 1) < 1e-9) | (lengths == 0)).all()
        assert np.sum(faces.normals * diagonals, axis=1) == pytest.approx(0, abs=1e-9)


@EVERY_SHAPE
def test_normals_of_faces_point_outwards(shape):
    body = next(faces for faces in cars.faces_of(Car(shape)) if faces.layer == cars.BODY)
    middles = body.corners.mean(axis=1)
    for axis, extreme in ((0, shape.length), (1, shape.width / 2), (1, -shape.width / 2)):
        outermost = int(np.argmin(np.abs(middles[:, axis] - extreme)))
        assert body.normals[outermost, axis] * (extreme or 1) > 0.5


def test_roof_rails_and_an_antenna_add_faces_to_a_car():
    plain = len(cars.faces_of(Car(SHAPES[3])))

    assert len(cars.faces_of(Car(SHAPES[3], roof_rails=True))) == plain + 2
    assert len(cars.faces_of(Car(SHAPES[3], antenna=True))) == plain + 1

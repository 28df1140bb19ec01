"""What a drawn demo can show: how its subjects are invented, by name, and how many photos there are of each.

Knows nothing of competitions or files.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from kaggle_tools.demo import cars, clouds, salt, steel, studio

MAKES = {"Aldera": ("Vento", "Lumo", "Strada"), "Korvin": ("K2", "K5", "Pavo"), "Miruna": ("Sol", "Brisa", "Onda")}
TRIMS = ("Base", "Comfort", "Sport", "Limited")
VIEWS = 16
"""Photos of each car, in equal steps around it."""


class Scene(Protocol):
    """One photo that can be taken."""

    def draw(self, size: tuple[int, int]) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        """Take it, `size` being (height, width): the photo, (H, W, 3) RGB, and the mask, (H, W).

        Where there are several classes of masks: all of them, (C, H, W).
        """
        ...


@dataclass(frozen=True)
class Subject:
    """What the photos of one group show."""

    facts: dict[str, str]
    """What a table about the groups says of it, by column."""
    scene: Callable[[int, np.random.Generator], Scene]
    """Decides how its photo of this number, from 0, is taken."""


@dataclass(frozen=True)
class Kind:
    """Subjects of one kind."""

    plural: str
    """For people to read."""
    invent: Callable[[np.random.Generator], Subject]
    """Invents one of them."""
    photos: int
    """How many there are of each."""
    size: tuple[int, int]
    """(height, width) of the photos in pixels, where nothing else is asked for."""
    train: int
    """How many have masks, where nothing else is asked for."""
    test: int
    """How many are to be masked, where nothing else is asked for."""
    classes: int = 1
    """How many masks each photo has."""


@dataclass(frozen=True)
class CarScene:
    """One photo of a car."""

    car: cars.Car
    view: studio.View

    def draw(self, size: tuple[int, int]) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        """Take it, see `studio.draw`."""
        return studio.draw(self.car, self.view, size)


def random_car(rng: np.random.Generator) -> Subject:
    """Invent a car and its papers, which have Carvana's columns. The turntable goes around in equal steps."""
    make = str(rng.choice(list(MAKES)))
    year, model, trim = int(rng.integers(2005, 2017)), str(rng.choice(MAKES[make])), str(rng.choice(TRIMS))
    car = cars.random_car(rng)
    facts = {"year": str(year), "make": make, "model": model, "trim1": trim, "trim2": car.shape.name}
    return Subject(facts, lambda number, rng: CarScene(car, studio.random_view(number * 360 / VIEWS, rng)))


def random_place(rng: np.random.Generator) -> Subject:
    """Invent a place and what lies below it, of which there is one picture; `z` is its depth, as TGS calls it."""
    facts = {"z": str(rng.integers(50, 960))}
    section = salt.random_section(rng)
    return Subject(facts, lambda _number, _rng: section)


def random_sheet(rng: np.random.Generator) -> Subject:
    """Invent a steel sheet, of which there is one picture."""
    sheet = steel.random_sheet(rng)
    return Subject({}, lambda _number, _rng: sheet)


def random_sky(rng: np.random.Generator) -> Subject:
    """Invent a sky, of which there is one picture."""
    sky = clouds.random_sky(rng)
    return Subject({}, lambda _number, _rng: sky)


SUBJECTS = {
    # A size that is no multiple of the powers of two that networks need.
    "cars": Kind("cars", random_car, photos=VIEWS, size=(320, 479), train=12, test=4),
    "salt": Kind("places", random_place, photos=1, size=(101, 101), train=240, test=80),
    "steel": Kind("sheets", random_sheet, photos=1, size=(64, 400), train=96, test=32, classes=len(steel.SHARES)),
    "clouds": Kind("skies", random_sky, photos=1, size=(350, 525), train=96, test=32, classes=len(clouds.KINDS)),
}
"""Every kind of subject by the name that a competition gives as its `demo`."""

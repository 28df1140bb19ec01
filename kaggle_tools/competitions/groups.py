"""Which group and view photos and masks are of, by their names."""

from collections.abc import Iterable

from kaggle_tools.competitions.competition import Competition
from kaggle_tools.errors import InputError


def stem_and_class(name: str, competition: Competition) -> tuple[str, str]:
    """The stem of the photo that a mask is of, and its class, of a name that stands in a table.

    Raises:
        InputError: the name is not of the competition's form.
    """
    try:
        return competition.stem_and_class(name)
    except ValueError as error:
        raise InputError(str(error)) from error


def classes_of_masks(names: Iterable[str], competition: Competition) -> list[str]:
    """The class of each mask; empty texts where there is but one kind of mask.

    Raises:
        InputError: a name is not of the competition's form.
    """
    return [stem_and_class(name, competition)[1] for name in names]


def groups_and_views(stems: Iterable[str], competition: Competition) -> tuple[list[str], list[str]]:
    """The group and the view of each photo.

    Raises:
        InputError: a stem is not of the competition's form.
    """
    try:
        named = [competition.group_and_view(stem) for stem in stems]
    except ValueError as error:
        raise InputError(str(error)) from error
    return [group for group, _ in named], [view for _, view in named]


def groups_and_views_of_masks(names: Iterable[str], competition: Competition) -> tuple[list[str], list[str]]:
    """The group and the view of the photo of each mask.

    Raises:
        InputError: a name is not of the competition's form.
    """
    return groups_and_views([stem_and_class(name, competition)[0] for name in names], competition)

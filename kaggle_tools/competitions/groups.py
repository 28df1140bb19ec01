"""Which group and view photos and masks are of, by their names."""

from collections.abc import Iterable

from kaggle_tools.competitions.competition import Competition
from kaggle_tools.errors import InputError


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
    try:
        return groups_and_views([competition.stem_of(name) for name in names], competition)
    except ValueError as error:
        raise InputError(str(error)) from error

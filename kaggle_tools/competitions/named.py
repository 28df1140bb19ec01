"""The competition that a command is about: of the slug or the file that is given, or as its folders record it.

A folder of ours, a run or masks, keeps the whole of it, so that nothing else is needed later, and no folder is
continued with another one.
"""

from collections.abc import Mapping
from pathlib import Path

from kaggle_tools.cli import DEFAULT_SLUG
from kaggle_tools.competitions.competition import Competition
from kaggle_tools.competitions.own_score import RECORD, OwnScore
from kaggle_tools.competitions.toml_file import (
    as_recorded,
    competition_of,
    packaged,
    packaged_competition,
    read_competition,
)
from kaggle_tools.errors import InputError
from kaggle_tools.system.files import read_json, write_json
from kaggle_tools.system.json_values import changes_of


def competition_named(name: str) -> Competition:
    """The competition with this slug, or in this TOML file, or in the `competition.json` of a folder of ours.

    Raises:
        InputError: there is none; the known ones are named. Or the file is missing, or a field of it impossible; or it
            is a record of a folder, and the score is one of one's own, which no folder has.
    """
    if name.endswith(".toml"):
        return read_competition(Path(name))
    if not name.endswith(".json"):
        return packaged_competition(name)
    competition = read_json(Path(name), "", competition_of)
    require_score(competition, Path(name))
    return competition


def require_score(competition: Competition, where: Path) -> None:
    """Check that the score of a competition can be used; `where` it was found is said otherwise.

    Raises:
        InputError: a folder alone names it, and it is a function of the user's.
    """
    if isinstance(competition.score, OwnScore) and (why := competition.score.why_unusable):
        raise InputError(f"{where}: {why}")


def require_recorded_classes(folder: Path, competition: Competition) -> None:
    """Check that a folder of ours holds masks of the classes of this competition.

    Raises:
        InputError: its own record says otherwise, as when the competition's file was changed since.
    """
    recorded = read_json(folder / RECORD, "", competition_of) if (folder / RECORD).exists() else competition
    if recorded.classes != competition.classes:
        theirs, ours = (", ".join(one.classes) or "none" for one in (recorded, competition))
        raise InputError(f"{folder}: holds masks of other classes ({theirs}) than {competition.title} has ({ours})")


def name_of(folder: Path, competition: Competition) -> str:
    """By what a command can name the competition of a folder of ours: its slug, or of one's own the file there.

    With a score of one's own it is the file that the user named.
    """
    if isinstance(competition.score, OwnScore) and competition.score.competition_file:
        return str(competition.score.competition_file)
    is_packaged = competition.slug in packaged() and competition == packaged_competition(competition.slug)
    return competition.slug if is_packaged else str(folder / RECORD)


def agreed_competition(given: str | None, folders: Mapping[Path, str], *, to_score: bool = True) -> Competition:
    """The competition that folders record, each with its slug; the default one where nothing says which.

    `to_score`: masks are to be scored, so that the score must be usable.

    Raises:
        InputError: the folders, or they and what is given, contradict each other. Or see `require_score`.
    """
    named = competition_named(given) if given and given.endswith((".toml", ".json")) else None
    slugs = {**folders, Path("--competition"): named.slug if named else given} if given else dict(folders)
    if len(set(slugs.values())) > 1:
        listed = "; ".join(f"{path}: {slug}" for path, slug in slugs.items())
        raise InputError(f"these belong to different competitions: {listed}")
    found = {folder: recorded(folder, slug) for folder, slug in folders.items()}
    if given:
        found[Path("--competition")] = named or packaged_competition(given)
    if not found:
        return packaged_competition(DEFAULT_SLUG)
    first, *others = found
    for other in others:
        if changes := differences(found[first], found[other]):
            raise InputError(f"{other}: another {found[other].slug} than that of {first} ({'; '.join(changes)})")
    place, agreed = list(found.items())[-1]  # what is given, if anything is: it alone has a score of one's own
    if to_score:
        require_score(agreed, place)
    return agreed


def require_same(folder: Path, competition: Competition) -> None:
    """Check that a folder of ours, where it records its competition, was begun with this one.

    Raises:
        InputError: it was begun with another one; says in what it differs. Or the file is damaged.
    """
    path = folder / RECORD
    if path.exists() and (changes := differences(read_json(path, "", competition_of), competition)):
        raise InputError(
            f"{folder}: begun with another competition ({'; '.join(changes)}). Give that, or another --out."
        )


def record(folder: Path, competition: Competition, *, anew: bool = False) -> None:
    """Write the competition into a folder of ours, or check that it is the one that is there, if not `anew`.

    Raises:
        InputError: the folder was begun with another competition; says in what it differs. Or the file is damaged.
    """
    path = folder / RECORD
    if anew or not path.exists():
        write_json(path, as_recorded(competition))
    else:
        require_same(folder, competition)


def recorded(folder: Path, slug: str) -> Competition:
    """The competition of a folder of ours, as it was when the folder was begun; `slug` is what else records of it.

    Raises:
        InputError: the file is damaged, or contradicts the slug; or there is none, and the slug is not known.
    """
    path = folder / RECORD
    if not path.exists():  # of an older version
        return packaged_competition(slug)
    competition = read_json(path, "", competition_of)
    if competition.slug != slug:
        raise InputError(f"{path}: is about {competition.slug}, and the folder about {slug}")
    return competition


def differences(before: Competition, now: Competition) -> list[str]:
    """What differs between two competitions: `rle_first was 1, now 0`."""
    fields_before, fields_now = as_recorded(before), as_recorded(now)
    names = fields_before | fields_now
    return [change for name in names for change in changes_of(name, fields_before.get(name), fields_now.get(name))]

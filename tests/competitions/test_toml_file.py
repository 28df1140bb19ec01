import hashlib
import json
import tomllib
from pathlib import Path

import pytest
from known_competitions import CARVANA, CLOUDS, SALT, STEEL

from kaggle_tools.competitions.competition import Archive, Competition
from kaggle_tools.competitions.toml_file import (
    PACKAGED,
    as_recorded,
    competition_of,
    packaged,
    packaged_competition,
    read_competition,
)
from kaggle_tools.errors import InputError
from kaggle_tools.metrics import Overlap
from kaggle_tools.system.json_values import MalformedError

ROOFS = """\
slug = "roof-tiles"
title = "Roof Tiles"
train_photos = "images/{stem}.png"
train_masks = "masks/{stem}.png"
test_photos = "unseen/images/{stem}.png"
sample_submission = "sample.csv"
stem_format = "{view}"
id_pattern = "{stem}"
id_column = "id"
rle_column = "pixels"
rle_order = "column-major"
rle_first = 0
blank_mask = "-1"
blank_allowed = false
score = "IoU"
"""


@pytest.fixture
def roofs(tmp_path: Path) -> Path:
    path = tmp_path / "roofs.toml"
    path.write_text(ROOFS)
    return path


def refusal(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        read_competition(path)
    return str(caught.value).removeprefix(str(path))


def test_a_file_describes_a_competition_without_a_line_of_python(roofs: Path, tiles: Competition) -> None:
    assert read_competition(roofs) == tiles


def test_an_archive_says_where_it_belongs_and_what_it_holds(roofs: Path) -> None:
    with roofs.open("a") as file:
        file.write(
            'archives = [{ name = "all.zip", into = "images", holds = ["images/*.png"] }, { name = "sample.csv" }]'
        )
    assert read_competition(roofs).archives == (
        Archive("all.zip", "images", holds=("images/*.png",)),
        Archive("sample.csv"),
    )


@pytest.mark.parametrize("slug", packaged())
def test_a_packaged_competition_is_named_by_its_slug_and_fits_on_a_page(slug: str) -> None:
    assert packaged_competition(slug).slug == slug
    assert len((PACKAGED / f"{slug}.toml").read_text().splitlines()) <= 30


def test_an_unknown_slug_is_refused_and_the_known_ones_are_named() -> None:
    known = (
        "carvana-image-masking-challenge, severstal-steel-defect-detection, tgs-salt-identification-challenge, "
        "understanding_cloud_organization"
    )
    with pytest.raises(InputError, match=f"--competition roofs: not known; the known ones are {known}"):
        packaged_competition("roofs")


@pytest.mark.parametrize(
    ("line", "instead", "said"),
    [
        (12, "rle_first = 2", "rle_first: 2 must be 0 or 1"),
        (12, "rle_first = 1.0", "rle_first: 1.0 must be 0 or 1"),
        (13, 'demo = "boats"', "demo: 'boats' must be cars or salt or steel or clouds"),
        (13, 'metadata = "."', "metadata: '.' must be a path below the data folder, with /"),
        (12, "rle_first = true", "rle_first: True must be 0 or 1"),
        (11, 'rle_order = "rows"', "rle_order: 'rows' must be row-major or column-major"),
        (11, 'rle_ordr = "row-major"', "rle_ordr: no such field; is rle_order meant?"),
        (15, 'score = "AUC"', "score: 'AUC' must be Dice or IoU or mean precision or F0.5 or F2 or global Dice"),
        (
            15,
            'score = "../scores.py:f"',
            "score: '../scores.py:f' must be a file beside this one and its function, as my_scores.py:my_score",
        ),
        (13, 'score_sha256 = "0"', "score_sha256: '0' must be a SHA-256: 64 of the digits 0 to 9 and a to f"),
        (
            1,
            'slug = "Roof Tiles"',
            "slug: 'Roof Tiles' must be the last part of the address at Kaggle, as in roof-tiles",
        ),
        (2, 'title = ""', "title: '' must be a text in one line"),
        (3, 'train_photos = "images/*.png"', "train_photos: 'images/*.png' must hold {stem} once, and no other braces"),
        (
            3,
            'train_photos = "{stem}/photo.png"',
            "train_photos: '{stem}/photo.png' must have {stem} in the name of the file",
        ),
        (
            3,
            'train_photos = "../{stem}.png"',
            "train_photos: '../{stem}.png' must be a path below the data folder, with /",
        ),
        (3, "train_photos = 1", "train_photos: 1 is not a text"),
        (
            7,
            'stem_format = "{group}"',
            "stem_format: '{group}' must hold {view} and at most {group} once, and no other braces",
        ),
        (
            7,
            'stem_format = "{view}_{view}"',
            "stem_format: '{view}_{view}' must hold {view} and at most {group} once, and no other braces",
        ),
        (10, 'rle_column = "id"', "rle_column: must not be the name of another column"),
        (
            13,
            'classes = ["a", "b_a"]',
            "classes: 'a' must not be, nor end after a _, another class",
        ),
        (13, 'classes = ["a", "A"]', "classes: 'a' must not be, nor end after a _, another class"),
        (13, 'classes = ["../a"]', "classes: '../a' must be of letters, digits, spaces, - and _"),
        (
            13,
            'classes = ["a", "b"]',
            "classes: one of id_pattern, with {class}, and class_column must say where the class is",
        ),
        (13, 'class_column = "class"', "class_column: names a class, but there are no classes"),
        (13, "coverage_strata = [0.5, 0.1]", "coverage_strata: must rise from one to the next"),
        (13, "blank_share = 0.2", "blank_share: must be 0 where blank_allowed is false"),
        (13, "blank_share = 2", "blank_share: 2 is not from 0 to 1"),
        (
            13,
            'train_table = { id = "ImageId" }',
            "train_table.id: no such field; a table has id_pattern, id_column, class_column, rle_column",
        ),
        (13, 'train_table = { id_column = "" }', "train_table.id_column: '' must be a text in one line"),
        (
            13,
            'train_table = { id_column = "ImageId" }',
            "train_table: is for masks in a table, but train_masks are files",
        ),
        (13, "mask_size = [350]", "mask_size: [350] is not a list of two values"),
        (13, 'notebooks_only = "yes"', "notebooks_only: 'yes' must be true or false"),
        (13, "photo_size = [0, 10]", "photo_size[0]: 0 is not from 1 to 65,536"),
        (13, 'archives = [{ into = "a" }]', "archives[0]: no name in it"),
        (
            13,
            'archives = [{ name = "a", size = 3 }]',
            "archives[0].size: no such field; an archive has name, into, holds and on_request",
        ),
    ],
)
def test_an_impossible_field_is_named_with_its_line_and_what_would_be_right(
    roofs: Path, line: int, instead: str, said: str
) -> None:
    lines = ROOFS.splitlines()
    lines[line - 1] = instead
    roofs.write_text("\n".join(lines))
    assert refusal(roofs) == f", line {line} ({instead}): {said}"


@pytest.mark.parametrize("field", ["slug", "train_masks", "rle_first", "score"])
def test_a_field_that_is_missing_is_named(roofs: Path, field: str) -> None:
    roofs.write_text("\n".join(line for line in ROOFS.splitlines() if not line.startswith(field)))
    assert refusal(roofs).partition(", such as ")[0] == f": no {field} in it"


def test_of_a_field_with_few_choices_they_are_named(roofs: Path) -> None:
    roofs.write_text("\n".join(line for line in ROOFS.splitlines() if not line.startswith("rle_order")))
    assert refusal(roofs) == ": no rle_order in it, such as row-major, column-major"
    roofs.write_text("\n".join(line for line in ROOFS.splitlines() if not line.startswith("score")))
    assert refusal(roofs).startswith(": no score in it, such as Dice, ")


def test_a_file_that_is_no_toml_is_refused_with_the_line(roofs: Path) -> None:
    roofs.write_text(ROOFS + "blank_share = = 1\n")
    assert refusal(roofs).startswith(": is not TOML (")
    assert "line 16" in refusal(roofs)
    roofs.write_bytes(b"\xff")
    assert refusal(roofs).startswith(": is not TOML (")
    roofs.unlink()
    assert refusal(roofs).startswith(": missing; it describes the competition")


@pytest.mark.parametrize("competition", [CARVANA, SALT, STEEL, CLOUDS], ids=["Carvana", "Salt", "Steel", "Clouds"])
def test_the_fields_of_a_competition_make_it_again(competition: Competition) -> None:
    assert competition_of(as_recorded(competition)) == competition


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ('{ id_column = "pixels" }', "train_table.rle_column: must not be the name of another column"),
        (
            '{ id_pattern = "{stem}.png" }',
            "train_table.classes: one of id_pattern, with {class}, and class_column must say where the class is",
        ),
        ('{ class_column = "kind" }', "train_table.classes: one of id_pattern"),
    ],
)
def test_a_training_table_must_say_as_clearly_as_the_csv_whose_masks_it_holds(
    roofs: Path, table: str, said: str
) -> None:
    lines = ROOFS.replace("masks/{stem}.png", "train.csv").replace(
        'id_pattern = "{stem}"', 'id_pattern = "{stem}_{class}"'
    )
    roofs.write_text(f'{lines}classes = ["a", "b"]\ntrain_table = {table}\n')
    assert f", line 17 (train_table = {table}): {said}" in refusal(roofs)


def test_a_slug_may_have_an_underscore(roofs: Path) -> None:
    roofs.write_text(ROOFS.replace("roof-tiles", "roof_tiles"))
    assert read_competition(roofs).slug == "roof_tiles"


def test_the_recorded_training_table_holds_what_the_file_says_of_it() -> None:
    recorded = as_recorded(STEEL)
    assert recorded["train_table"] == {"id_pattern": "{stem}.jpg", "id_column": "ImageId", "class_column": "ClassId"}


def test_the_recorded_fields_are_those_of_the_file(tiles: Competition) -> None:
    assert as_recorded(tiles) == tomllib.loads(ROOFS)


class TestOwnScore:
    @pytest.fixture
    def roofs(self, roofs: Path) -> Path:
        """With a score of its own."""
        (roofs.parent / "scores.py").write_text("def half(shared, predicted, truth):\n    return 0 * truth + 0.5\n")
        roofs.write_text(ROOFS.replace("IoU", "scores.py:half"))
        return roofs

    def test_is_read_from_beside_the_file_and_named_after_its_function(self, roofs: Path) -> None:
        competition = read_competition(roofs)
        assert competition.score_name == competition.photo_score_name == "half"
        assert competition.score(Overlap(1, 1, 1)) == 0.5
        assert competition.further_scores == {"Dice": "dice", "IoU": "iou"}

    def test_is_recorded_by_its_name_and_its_sha256_which_run_nothing(self, roofs: Path) -> None:
        competition = read_competition(roofs)
        recorded = as_recorded(competition)
        sha256 = hashlib.sha256((roofs.parent / "scores.py").read_bytes()).hexdigest()
        assert (recorded["score"], recorded["score_sha256"]) == ("scores.py:half", sha256)
        again = competition_of(recorded)
        assert again == competition
        with pytest.raises(InputError, match="give --competition"):
            again.score(Overlap(1, 1, 1))

    def test_a_file_may_say_the_sha256_which_must_then_be_right(self, roofs: Path) -> None:
        sha256 = hashlib.sha256((roofs.parent / "scores.py").read_bytes()).hexdigest()
        with roofs.open("a") as file:
            file.write(f'score_sha256 = "{sha256}"\n')
        assert read_competition(roofs).score_name == "half"
        with (roofs.parent / "scores.py").open("a") as file:
            file.write("\n")
        assert "score_sha256: the Python file of the score has another SHA-256, " in refusal(roofs)

    def test_a_record_without_the_sha256_is_refused(self, roofs: Path) -> None:
        recorded = as_recorded(read_competition(roofs))
        del recorded["score_sha256"]
        with pytest.raises(MalformedError, match="no score_sha256 in it"):
            competition_of(recorded)

    def test_a_sha256_belongs_to_no_other_score(self, roofs: Path) -> None:
        recorded = {**as_recorded(read_competition(roofs)), "score": "IoU"}
        with pytest.raises(MalformedError, match="^score_sha256: belongs to a score that is a function in a Python fi"):
            competition_of(recorded)

    @pytest.mark.parametrize("named", ["os:system", "os.path:join", "/tmp/a.py:f", "a/b.py:f", "a.py:f.g", "a.py"])
    def test_nothing_else_than_a_file_beside_it_can_be_named(self, roofs: Path, named: str) -> None:
        with pytest.raises(MalformedError, match="^score: "):
            competition_of({**as_recorded(read_competition(roofs)), "score": named})


@pytest.mark.parametrize(
    ("id_pattern", "classes", "clear"),
    [
        ("{stem}{class}", ["1", "11"], False),
        ("{stem}-{class}", ["b", "a-b"], False),
        ("{class}-{stem}", ["a", "a-b"], False),
        ("{stem}-{class}", ["1", "11"], True),
        ("{stem}{class}", ["1", "2"], True),
    ],
)
def test_ids_must_tell_the_classes_from_each_other(
    roofs: Path, id_pattern: str, classes: list[str], clear: bool
) -> None:
    lines = [line for line in ROOFS.splitlines() if not line.startswith(("id_pattern", "train_masks"))]
    lines += [f'id_pattern = "{id_pattern}"', f"classes = {json.dumps(classes)}", 'train_masks = "train.csv"']
    roofs.write_text("\n".join(lines))
    if clear:
        assert read_competition(roofs).classes == tuple(classes)
    else:
        assert f"ids like this do not tell class {classes[0]} from {classes[1]}" in refusal(roofs)

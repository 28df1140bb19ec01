import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kaggle_tools.competitions.competition import Competition, TrainTable
from kaggle_tools.data.images import read_mask
from kaggle_tools.data.listing import training_photos
from kaggle_tools.data.run_length_masks import mask_files, masks_folder
from kaggle_tools.errors import InputError

SIZES = {"a": (2, 3), "b": (2, 3), "c": (2, 3)}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def tables(tiles: Competition) -> Competition:
    """Pixels down each column first, the first one is 0; a blank mask is -1."""
    return replace(tiles, train_masks="train.csv", blank_allowed=True)


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    def write(*rows: str, header: str = "id,pixels") -> Path:
        (tmp_path / "train.csv").write_text("\n".join([header, *rows]) + "\n")
        return tmp_path / "train.csv"

    return write


def test_run_lengths_become_masks_in_the_order_of_the_competition(
    tables: Competition, write: Callable[..., Path]
) -> None:
    files = mask_files(tables, write("a,1 2", "b,-1"), SIZES)
    assert read_mask(files["a"]).tolist() == [[False, True, False], [True, False, False]]
    assert not read_mask(files["b"]).any()


def test_several_rows_of_a_photo_are_taken_together_and_none_is_a_blank_mask(
    tables: Competition, write: Callable[..., Path]
) -> None:
    files = mask_files(tables, write("a,0 1", "a,0 2", "a,5 1", "b,"), SIZES)
    assert read_mask(files["a"]).tolist() == [[True, False, False], [True, False, True]]
    assert not read_mask(files["b"]).any()
    assert not read_mask(files["c"]).any()


def test_masks_are_decoded_once_and_again_where_the_table_changed(
    tables: Competition, write: Callable[..., Path]
) -> None:
    first = mask_files(tables, write("a,0 1"), SIZES)["a"]
    made = first.stat().st_mtime_ns
    assert mask_files(tables, write("a,0 1"), SIZES)["a"].stat().st_mtime_ns == made
    second = mask_files(tables, write("a,0 6"), SIZES)["a"]
    assert second != first
    assert read_mask(second).all()
    numbered = mask_files(replace(tables, rle_order="row-major"), write("a,0 2"), SIZES)["a"]
    assert read_mask(numbered).tolist() == [[True, True, False], [False, False, False]]


def test_photos_that_are_gone_since_the_masks_were_decoded_are_named(
    tables: Competition, write: Callable[..., Path]
) -> None:
    table = write("a,0 1", "b,2 1")
    mask_files(tables, table, SIZES)
    with pytest.raises(InputError, match=r"train\.csv: 1 photo is not there \(images/\{stem\}\.png\): b$"):
        mask_files(tables, table, {"a": SIZES["a"]})


def test_a_mask_of_which_the_photo_has_another_size_now_is_decoded_again(
    tables: Competition, write: Callable[..., Path]
) -> None:
    table = write("a,0 2")
    mask_files(tables, table, SIZES)
    assert read_mask(mask_files(tables, table, {"a": (1, 2), "b": (2, 3), "c": (2, 3)})["a"]).tolist() == [[True, True]]


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (["z,0 1"], r"train\.csv: 1 photo is not there \(images/\{stem\}\.png\): z"),
        (
            ["a,4 3"],
            r"train\.csv, line 2: a does not fit its photo of 3x2 pixels: a run ends at pixel 6, but the last one is 5"
            "; with rle_first = 1 this row would fit$",
        ),
        (["a,4 4"], "a run ends at pixel 7, but the last one is 5$"),
        (["a,1 x"], r"train\.csv, line 2: a does not fit its photo of 3x2 pixels: 'x' is not a number$"),
        (["a,0"], r"pixels: .*; if '0' stands for a blank mask, say so as blank_mask$"),
        (["a"], r"train\.csv: cannot be read \(line 2 has too few fields\)"),
        (["a,1 2,5 2"], r"train\.csv: cannot be read \(line 2 has too many fields\)"),
        (["a/b,0 1"], r"train\.csv: cannot be read \('a/b' is not of the form \{stem\}"),
    ],
)
def test_a_row_that_cannot_be_is_named(
    tables: Competition, write: Callable[..., Path], rows: list[str], said: str
) -> None:
    with pytest.raises(InputError, match=said):
        mask_files(tables, write(*rows), SIZES)


def test_a_table_of_a_large_mask_that_begins_with_a_mark_is_read(tables: Competition, tmp_path: Path) -> None:
    size = (600, 600)
    text = " ".join(f"{at} 1" for at in range(0, 360_000, 8))
    assert len(text) > 131_072  # the limit of Python's own module
    (tmp_path / "train.csv").write_text(f"id,pixels\na,{text}\n", encoding="utf-8-sig")
    assert read_mask(mask_files(tables, tmp_path / "train.csv", {"a": size})["a"]).mean() == 1 / 8


def test_rows_of_photos_that_cannot_be_read_are_left_aside(tables: Competition, write: Callable[..., Path]) -> None:
    files = mask_files(tables, write("a,0 1", "z,0 1"), SIZES, unreadable={"z"})
    assert files.keys() == SIZES.keys()


def test_a_table_that_is_missing_or_another_one_is_refused(
    tables: Competition, write: Callable[..., Path], tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=r"train\.csv: missing; it holds the training masks of Roof Tiles"):
        mask_files(tables, tmp_path / "train.csv", SIZES)
    with pytest.raises(InputError, match=r"train\.csv: has no columns id and pixels"):
        mask_files(tables, write("a,0 1", header="id,rle"), SIZES)


def test_training_photos_have_the_masks_of_the_table(
    tables: Competition, write: Callable[..., Path], tmp_path: Path, cache: Path
) -> None:
    (tmp_path / "images").mkdir()
    for stem in "abc":
        Image.fromarray(np.zeros((2, 3, 3), np.uint8)).save(tmp_path / "images" / f"{stem}.png")
    photos = training_photos(tables, (write("a,0 1")).parent)
    assert [photo.stem for photo in photos] == ["a", "b", "c"]
    assert photos[0].mask == masks_folder(tables, tmp_path / "train.csv") / "a.png"
    assert photos[0].mask.is_relative_to(cache)


@pytest.fixture
def of_classes(tables: Competition) -> Competition:
    return replace(tables, classes=("red", "dark"), id_pattern="{stem}.png_{class}")


def pixels(files: dict[str, Path]) -> dict[str, list[list[bool]]]:
    return {name: read_mask(path).tolist() for name, path in files.items()}


BLANK = [[False, False, False], [False, False, False]]
EXPECTED = {
    "a_red": [[True, False, False], [False, False, True]],
    "a_dark": [[False, True, False], [True, False, False]],
    "b_red": BLANK,
    "b_dark": [[True, True, True], [True, True, True]],
}


def test_each_class_of_a_photo_has_a_mask_of_its_own_and_is_blank_without_a_row(
    of_classes: Competition, write: Callable[..., Path]
) -> None:
    table = write("a.png_dark,1 2", "a.png_red,0 1", "b.png_dark,0 6", "a.png_red,5 1")
    assert pixels(mask_files(of_classes, table, {"a": (2, 3), "b": (2, 3)})) == EXPECTED


def test_a_table_may_have_its_classes_in_a_column_of_its_own_and_columns_in_any_order(
    of_classes: Competition, write: Callable[..., Path]
) -> None:
    rows = ["1 2,dark,a.png", "0 1,red,a.png", "0 6,dark,b.png", "5 1,red,a.png", "-1,red,b.png"]
    table = write(*rows, header="rle,kind,photo")
    otherwise = TrainTable(id_pattern="{stem}.png", id_column="photo", class_column="kind", rle_column="rle")
    named = replace(of_classes, train_table=otherwise)
    assert pixels(mask_files(named, table, {"a": (2, 3), "b": (2, 3)})) == EXPECTED


def test_a_table_in_the_columns_of_the_csv_is_read_also_where_another_one_is_described(
    of_classes: Competition, write: Callable[..., Path]
) -> None:
    named = replace(of_classes, train_table=TrainTable("{stem}.png", "photo", "kind"))
    files = mask_files(named, write("a.png_red,0 1"), {"a": (2, 3)})
    assert pixels(files)["a_red"] == [[True, False, False], [False, False, False]]
    with pytest.raises(InputError, match=r"train\.csv, line 3: a\.png,dark does not fit its photo of 3x2 pixels"):
        mask_files(named, write("a.png,red,0 1", "a.png,dark,5 2", header="photo,kind,pixels"), {"a": (2, 3)})
    with pytest.raises(InputError, match=r"train\.csv: has no columns photo and kind and pixels"):
        mask_files(named, write("a.png,0 1", header="photo,pixels"), {"a": (2, 3)})


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("a.png_blue,0 1", r"cannot be read \('a\.png_blue' is not of the form .* class: red, dark, as in Roof"),
        ("z.png_red,0 1", r"1 photo is not there \(images/\{stem\}\.png\): z$"),
        ("a.png_dark,4 3", r"train\.csv, line 2: a\.png_dark does not fit its photo of 3x2 pixels: a run ends"),
    ],
)
def test_a_row_of_an_impossible_class_or_mask_is_named(
    of_classes: Competition, write: Callable[..., Path], row: str, said: str
) -> None:
    with pytest.raises(InputError, match=said):
        mask_files(of_classes, write(row), {"a": (2, 3)})


def test_masks_of_one_kind_lie_where_they_always_lay(tables: Competition, write: Callable[..., Path]) -> None:
    table = write("a,0 1")
    decides = f"1 {hashlib.sha256(table.read_bytes()).hexdigest()} ('{{stem}}', 'id', 'pixels', 'column-major') 0 -1"
    name = f"roof-tiles-{hashlib.sha256(decides.encode()).hexdigest()[:16]}"
    assert mask_files(tables, table, SIZES)["a"] == masks_folder(tables, table) / "a.png"
    assert masks_folder(tables, table).name == name

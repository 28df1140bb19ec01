from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from known_competitions import CARVANA, SALT
from numpy.typing import NDArray
from PIL import Image

from kaggle_tools import rle
from kaggle_tools.competitions.competition import Competition
from kaggle_tools.competitions.toml_file import as_recorded, competition_of
from kaggle_tools.data.drafting.conclusions import Finding, findings
from kaggle_tools.data.drafting.inventory import inventory_of
from kaggle_tools.data.drafting.roles import roles_in
from kaggle_tools.data.images import read_mask, write_mask
from kaggle_tools.data.run_length_masks import mask_files
from kaggle_tools.errors import InputError

SIZE = (6, 8)
SHARED = Path(__file__).parents[4] / "shared"


def draw_photo(path: Path, seed: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (*SIZE, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


def box(stem: str) -> NDArray[np.bool_]:
    """Blank for `c`; else in the middle, higher than wide, so that its runs tell rows from columns."""
    mask_HW = np.zeros(SIZE, dtype=bool)
    mask_HW[1:5, 3:5] = not stem.startswith("c")
    return mask_HW


def write_table(path: Path, header: str, rows: dict[str, str]) -> None:
    path.write_text("\n".join([header, *(f"{name},{text}" for name, text in rows.items())]) + "\n")


def draw(folder: Path, stems: str = "a b c", suffix: str = ".png", tail: str = "", ids: str = "{}") -> Path:
    """Training photos, their masks, two test photos and a sample submission that lists these and others."""
    for seed, stem in enumerate(stems.split()):
        draw_photo(folder / "train" / f"{stem}{suffix}", seed)
        write_mask(folder / "masks" / f"{stem}{tail}.png", box(stem))
    for seed, stem in enumerate(("x", "y")):
        draw_photo(folder / "test" / f"{stem}{suffix}", seed)
    write_table(folder / "sample_submission.csv", "id,pixels", {ids.format(stem): "1 1" for stem in "xyz"})
    return folder


def found_in(folder: Path) -> dict[str, Finding]:
    inventory = inventory_of(folder)
    return findings(roles_in(inventory), inventory, "roof-tiles")


def refusal(folder: Path) -> str:
    with pytest.raises(InputError) as caught:
        found_in(folder)
    return str(caught.value)


def test_files_and_columns_are_seen(tmp_path: Path) -> None:
    found = found_in(draw(tmp_path, suffix=".jpg", tail="_mask", ids="{}.jpg"))
    assert {name: one.value for name, one in found.items() if one.how == "seen"} == {
        "train_photos": "train/{stem}.jpg",
        "train_masks": "masks/{stem}_mask.png",
        "test_photos": "test/{stem}.jpg",
        "sample_submission": "sample_submission.csv",
        "id_pattern": "{stem}.jpg",
        "id_column": "id",
        "rle_column": "pixels",
        "photo_size": [6, 8],
    }


def test_what_no_file_shows_is_marked_as_a_guess(tmp_path: Path) -> None:
    found = found_in(draw(tmp_path))
    guessed = {name for name, one in found.items() if one.how == "guessed"}
    assert guessed == {"slug", "title", "rle_order", "rle_first", "score", "coverage_strata"}
    assert found["rle_order"].why.startswith("no table with run lengths of the training masks")


@pytest.mark.parametrize("order", ["row-major", "column-major"])
@pytest.mark.parametrize("first", [0, 1])
def test_masks_that_are_there_as_run_lengths_too_show_order_and_first_number(
    tmp_path: Path, order: Any, first: int
) -> None:
    draw(tmp_path)
    texts = {stem: rle.encode(box(stem), order, first) for stem in "abc"}
    write_table(tmp_path / "train.csv", "id,pixels", texts)
    found = found_in(tmp_path)
    why = "2 masks of train.csv compared with their files"
    assert found["rle_order"] == Finding(order, "concluded", why)
    assert found["rle_first"] == Finding(first, "concluded", why)


def test_run_lengths_that_fit_no_order_conclude_nothing(tmp_path: Path) -> None:
    draw(tmp_path)
    write_table(tmp_path / "train.csv", "id,pixels", {"a": "1 2", "b": "3 4"})
    assert found_in(tmp_path)["rle_order"].how == "guessed"
    assert "train.csv fits its masks in no order" in found_in(tmp_path)["rle_order"].why


def test_blank_masks_are_counted_and_what_a_table_holds_for_them_is_seen(tmp_path: Path) -> None:
    draw(tmp_path)
    write_table(tmp_path / "train.csv", "id,pixels", {"c": "-1", "a": rle.encode(box("a"))})
    found = found_in(tmp_path)
    assert found["blank_share"] == Finding(0.33, "concluded", "1 of 3 training masks is blank")
    assert found["blank_mask"] == Finding("-1", "seen", "in train.csv")
    assert "blank_share" not in found_in(draw(tmp_path / "other", stems="a b"))


@pytest.mark.parametrize(
    ("stems", "expected"),
    [
        ("r1_left r1_right r2_left r2_right", "{group}_{view}"),
        ("r-1_left r-1_right r-2_left", "{view}"),  # of the test photos x and y neither has a part
        ("a b", "{view}"),
    ],
)
def test_groups_are_what_names_share(tmp_path: Path, stems: str, expected: str) -> None:
    draw(tmp_path, stems)
    if expected != "{view}":
        for stem in ("x", "y"):
            (tmp_path / "test" / f"{stem}.png").rename(
                tmp_path / "test" / f"r3_{'left' if stem == 'x' else 'right'}.png"
            )
        write_table(tmp_path / "sample_submission.csv", "id,pixels", {"r3_left": "1 1", "r3_right": "1 1"})
    assert found_in(tmp_path)["stem_format"].value == expected


def test_of_two_kinds_of_photos_those_like_the_test_photos_are_taken(tmp_path: Path) -> None:
    draw(tmp_path)
    for stem in "abc":
        draw_photo(tmp_path / "train_hq" / f"{stem}.bmp")
    assert found_in(tmp_path)["train_photos"].value == "train/{stem}.png"


def test_a_further_table_about_photos_is_the_metadata(tmp_path: Path) -> None:
    draw(tmp_path)
    write_table(tmp_path / "depths.csv", "id,z", {"a": "3", "x": "4"})
    write_table(tmp_path / "people.csv", "id,z", {"Ann": "3"})
    assert found_in(tmp_path)["metadata"].value == "depths.csv"


def test_photos_of_several_sizes_have_no_size_in_common(tmp_path: Path) -> None:
    draw(tmp_path)
    Image.new("RGB", (9, 9)).save(tmp_path / "test" / "x.png")
    assert "photo_size" not in found_in(tmp_path)


def test_a_folder_in_which_something_is_missing_is_refused_by_name(tmp_path: Path) -> None:
    draw(tmp_path / "a")
    (tmp_path / "a" / "masks" / "c.png").unlink()
    there = "2 files masks/{stem}.png, 2 files test/{stem}.png, 3 files train/{stem}.png"
    blank = "A blank mask needs a file too, all black"
    lacking = "no training photos with a mask of the same name for each, and no table with their run lengths; there are"
    assert refusal(tmp_path / "a") == f"{tmp_path / 'a'}: {lacking} {there}. {blank}"
    draw(tmp_path / "b")
    write_table(tmp_path / "b" / "sample_submission.csv", "id,pixels", {"q": "1 1"})
    expected = "no images that the ids of sample_submission.csv name, such as q; unpack the test photos, or "
    assert refusal(tmp_path / "b").startswith(f"{tmp_path / 'b'}: {expected}")
    (tmp_path / "b" / "sample_submission.csv").rename(tmp_path / "b" / "ids.csv")
    expected = "no sample submission of two or three columns among the tables (ids.csv); download it, or "
    assert refusal(tmp_path / "b").startswith(f"{tmp_path / 'b'}: {expected}")


def test_where_masks_are_run_lengths_alone_their_table_is_named_and_coherent_masks_show_the_order(
    tmp_path: Path,
) -> None:
    """Boxes of 4 rows and 2 columns in photos of 6x8: of the wrong order, runs would go on beyond ends of lines."""
    draw(tmp_path, "a b c d e f")
    texts = {stem: rle.encode(np.roll(box(stem), at % 4, axis=1), "column-major", 1) for at, stem in enumerate("abdef")}
    write_table(tmp_path / "train.csv", "id,pixels", texts)
    for path in (tmp_path / "masks").iterdir():
        path.unlink()
    found = found_in(tmp_path)
    assert found["train_masks"].value == "train.csv"
    assert found["rle_order"] == Finding(
        "column-major", "concluded", "so hardly a run of 5 masks goes on beyond the end of a line"
    )
    assert found["rle_first"].how == "guessed"
    texts["a"] = "0 2"
    write_table(tmp_path / "train.csv", "id,pixels", texts)
    assert found_in(tmp_path)["rle_first"] == Finding(0, "concluded", "a run in train.csv begins at 0")
    assert found["blank_share"].value == 0.17  # the photo without a row
    assert found["train_masks"].why == "it has run lengths, and names training photos"
    write_table(tmp_path / "train.csv", "id,pixels", texts | {"y": "1 1", "z": "1 1"})
    gone = "; of 2 ids the photo, or the class, is not there: y, z"
    assert found_in(tmp_path)["train_masks"].why == f"it has run lengths, and names training photos{gone}"


@pytest.mark.parametrize("marker", ["0 0", "0 1", "1 1"])
def test_a_pixel_that_several_masks_are_is_guessed_to_be_a_blank_one(tmp_path: Path, marker: str) -> None:
    """And says nothing of the first number."""
    draw(tmp_path, "a b c d e f")
    texts = {stem: rle.encode(box(stem), "column-major", 1) for stem in "abc"}
    write_table(tmp_path / "train.csv", "id,pixels", texts | dict.fromkeys("def", marker))
    for path in (tmp_path / "masks").iterdir():
        path.unlink()
    found = found_in(tmp_path)
    assert found["blank_mask"] == Finding(marker, "guessed", "several masks of train.csv are no more than that")
    assert found["rle_first"].how == "guessed"
    assert found["blank_share"].value == 0.67  # and c, which is empty


@pytest.mark.parametrize("first", [0, 1])
def test_run_lengths_of_masks_that_reach_both_edges_show_the_first_number(tmp_path: Path, first: int) -> None:
    draw(tmp_path, "a b c d e f")
    mask_HW = np.zeros((6, 8), dtype=bool)
    mask_HW[2:, 3:7] = True
    low, high = (rle.encode(one_HW, "column-major", first) for one_HW in (mask_HW, mask_HW[::-1]))
    write_table(tmp_path / "train.csv", "id,pixels", dict.fromkeys("abc", low) | dict.fromkeys("def", high))
    for path in (tmp_path / "masks").iterdir():
        path.unlink()
    why = f"from {1 - first} on, runs would go on beyond the end of a line"
    assert found_in(tmp_path)["rle_first"] == Finding(first, "concluded", why)


def test_real_square_photos_show_the_order_by_their_edges(tmp_path: Path) -> None:
    salt = SHARED / "salt"
    if not salt.is_dir():
        pytest.skip(f"no {salt}")
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "images").symlink_to(salt / "train" / "images")
    (tmp_path / "test").symlink_to(salt / "test")
    for name in ("train.csv", "sample_submission.csv"):
        (tmp_path / name).symlink_to(salt / name)
    found = found_in(tmp_path)
    assert found["train_masks"].value == "train.csv"
    assert (found["rle_order"].value, found["rle_order"].how) == ("column-major", "concluded")
    assert "lie on edges of their photos" in found["rle_order"].why
    assert found["blank_share"].value == SALT.blank_share


@pytest.mark.parametrize(
    ("folder", "competition", "marked"),
    [
        ("salt", SALT, {"score", "title"}),
        ("carvana", CARVANA, {"title", "rle_order"}),
    ],
)
def test_the_draft_of_real_data_is_the_packaged_file_where_the_data_can_tell(
    folder: str, competition: Competition, marked: set[str]
) -> None:
    if not (SHARED / folder).is_dir():
        pytest.skip(f"no {SHARED / folder}")
    inventory = inventory_of(SHARED / folder)
    found = findings(roles_in(inventory), inventory, competition.slug)
    packaged = as_recorded(competition)
    known = {name: one.value for name, one in found.items()}
    competition_of(known)
    differing = {name for name in known if known[name] != packaged.get(name)}
    assert differing == marked
    assert all(found[name].how == "guessed" for name in marked)
    assert packaged.keys() - known.keys() <= {"archives", "group_name", "view_name", "demo"}  # which no file names


def draw_classes(folder: Path, header: str, row: str) -> Path:
    """Photos a, b, c to train on and x, y to mask; `row` says how a mask of a class is written."""
    for stem, role in zip("abcxy", ["train"] * 3 + ["test"] * 2, strict=True):
        draw_photo(folder / role / f"{stem}.png")
    true = {"2": rle.encode(box("a")), "10": ""}
    for name, stems, texts in (("train.csv", "abc", true), ("sample.csv", "xy", dict.fromkeys(true, "1 1"))):
        rows = [
            row.format(stem=stem, of_class=of_class, text=texts[of_class]) for stem in stems for of_class in ("2", "10")
        ]
        (folder / name).write_text("\n".join([header, *rows]) + "\n")
    return folder


@pytest.mark.parametrize(
    ("header", "row", "id_pattern", "class_column"),
    [
        ("id,pixels", "{stem}.png_{of_class},{text}", "{stem}.png_{class}", None),
        ("id,pixels", "{stem}_{of_class},{text}", "{stem}_{class}", None),
        ("id,kind,pixels", "{stem},{of_class},{text}", "{stem}", "kind"),
        ("id,pixels,kind", "{stem}.png,{text},{of_class}", "{stem}.png", "kind"),
    ],
)
def test_classes_are_seen_in_ids_or_in_a_column(
    tmp_path: Path, header: str, row: str, id_pattern: str, class_column: str | None
) -> None:
    found = found_in(draw_classes(tmp_path, header, row))
    assert found["classes"].value == ["2", "10"]
    assert found["id_pattern"].value == id_pattern
    assert (found["class_column"].value if "class_column" in found else None) == class_column
    assert (found["id_column"].value, found["rle_column"].value) == ("id", "pixels")
    assert found["train_masks"].value == "train.csv"
    assert found["blank_share"] == Finding(0.5, "concluded", "3 of 6 training masks are blank")
    assert found["coverage_strata"].value == [0.0]


def test_masks_of_classes_without_files_or_table_are_refused(tmp_path: Path) -> None:
    draw_classes(tmp_path, "id,pixels", "{stem}_{of_class},{text}")
    (tmp_path / "train.csv").unlink()
    lacking = (
        "no training photos with a mask of the same name for each of 2 classes, and no table with their run lengths"
    )
    assert refusal(tmp_path).startswith(f"{tmp_path}: {lacking}; there are 2 files test/{{stem}}.png")


@pytest.mark.parametrize(
    "pattern",
    [
        "masks/{class}/{stem}.png",
        "masks/{stem}_{class}.png",
        "masks/{stem}-{class}-mask.png",
        "masks/class_{class}/{stem}.png",
        "masks/{stem}_210_{class}.png",
        "{class}/m/{stem}.png",
    ],
)
def test_files_of_masks_of_classes_are_found_by_their_folders_or_names(tmp_path: Path, pattern: str) -> None:
    """Class 10 is blank, class 2 blank for `c` alone: 4 of 6 masks."""
    draw_classes(tmp_path, "id,pixels", "{stem}_{of_class},{text}")
    for stem, of_class in product("abc", ("2", "10")):
        path = tmp_path / pattern.replace("{stem}", stem).replace("{class}", of_class)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_mask(path, box(stem if of_class == "2" else "c"))
    found = found_in(tmp_path)
    assert found["train_masks"] == Finding(pattern, "seen", "6 files")
    assert found["blank_share"].value == 0.67
    assert found["rle_order"].how == "guessed"  # its table gives `c` the mask of `a`
    assert "train_table" not in found
    competition_of({name: one.value for name, one in found.items()})
    (tmp_path / pattern.replace("{stem}", "b").replace("{class}", "10")).unlink()
    assert found_in(tmp_path)["train_masks"].value == "train.csv"
    assert found_in(tmp_path)["train_photos"].value == "train/{stem}.png"


def test_files_of_masks_of_classes_show_how_pixels_are_numbered(tmp_path: Path) -> None:
    draw_classes(tmp_path, "id,kind,pixels", "{stem},{of_class},{text}")
    for stem, of_class in product("abc", ("2", "10")):
        path = tmp_path / "masks" / of_class / f"{stem}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_mask(path, box("a" if of_class == "2" else "c"))
    why = "3 masks of train.csv compared with their files"
    assert found_in(tmp_path)["rle_order"] == Finding("row-major", "concluded", why)


def test_classes_may_follow_in_ids_behind_a_hyphen(tmp_path: Path) -> None:
    found = found_in(draw_classes(tmp_path, "id,pixels", "{stem}.png-{of_class},{text}"))
    assert found["classes"].value == ["2", "10"]
    assert found["id_pattern"].value == "{stem}.png-{class}"
    assert found["blank_share"].value == 0.5


@pytest.mark.parametrize(
    ("header", "rows", "train_table"),
    [
        (
            "ImageId,ClassId,EncodedPixels",
            "a.png,2,{text} b.png,2,{text} c.png,10,{text}",
            {
                "id_pattern": "{stem}.png",
                "id_column": "ImageId",
                "class_column": "ClassId",
                "rle_column": "EncodedPixels",
            },
        ),
        (
            "pixels,name",
            "{text},a-2 {text},b-2 {text},c-10",
            {"id_pattern": "{stem}-{class}", "id_column": "name"},
        ),
    ],
)
def test_a_table_of_masks_may_have_other_columns_than_the_sample(
    tmp_path: Path, header: str, rows: str, train_table: dict[str, str]
) -> None:
    draw_classes(tmp_path, "id,pixels", "{stem}.png_{of_class},{text}")
    lines = [
        row.replace("_", " ")
        for row in rows.format(text=rle.encode(box("a"), "column-major").replace(" ", "_")).split()
    ]
    (tmp_path / "train.csv").write_text("\n".join([header, *lines]) + "\n")
    (tmp_path / "about.csv").write_text("name,height,year\na,3,1990\nb,4,1991\n")
    found = found_in(tmp_path)
    assert found["train_masks"].value == "train.csv"
    assert found["train_table"] == Finding(train_table, "seen", "header and ids of train.csv")
    assert found["id_pattern"].value == "{stem}.png_{class}"
    assert found["blank_share"] == Finding(0.5, "concluded", "3 of 6 training masks are blank")
    drafted = competition_of({name: one.value for name, one in found.items()})
    sizes = dict.fromkeys("abc", SIZE)
    masks = {name: read_mask(path) for name, path in mask_files(drafted, tmp_path / "train.csv", sizes).items()}
    assert {name for name, mask_HW in masks.items() if (mask_HW == box("a")).all()} == {"a_2", "b_2", "c_10"}
    assert {name for name, mask_HW in masks.items() if not mask_HW.any()} == {"a_10", "b_10", "c_2"}


def test_masks_of_several_rows_are_not_blank(tmp_path: Path) -> None:
    draw(tmp_path)
    for path in (tmp_path / "masks").iterdir():
        path.unlink()
    (tmp_path / "train.csv").write_text("id,pixels\na,1 2\na,9 2\nb,3 4\nc,\n")
    assert found_in(tmp_path)["blank_share"] == Finding(0.33, "concluded", "1 of 3 training masks is blank")


def test_photos_of_which_most_have_masks_are_those_to_train_on(tmp_path: Path) -> None:
    """And not an example of one, which stands before them."""
    draw_classes(tmp_path, "id,pixels", "{stem}_{of_class},{text}")
    draw_photo(tmp_path / "examples" / "a.png")
    assert found_in(tmp_path)["train_photos"].value == "train/{stem}.png"


@pytest.mark.parametrize("ids", ["{}_mask", "{}-mask", "{}_mask.png"])
def test_what_follows_in_ids_is_no_class_if_each_photo_has_one_row(tmp_path: Path, ids: str) -> None:
    found = found_in(draw(tmp_path, ids=ids))
    assert found["id_pattern"].value == ids.format("{stem}")
    assert found["train_masks"].value == "masks/{stem}.png"
    assert "classes" not in found


def test_a_column_of_run_lengths_holds_no_classes(tmp_path: Path) -> None:
    draw(tmp_path)
    (tmp_path / "sample_submission.csv").write_text("id,pixels,kind\nx,1 1,tile\ny,1 1,tile\n")
    (tmp_path / "train.csv").write_text("id,pixels,kind\na,1 2,tile\nb,1 2,tile\n")
    found = found_in(tmp_path)
    assert (found["classes"].value, found["class_column"].value) == (["tile"], "kind")
    assert found["rle_column"].value == "pixels"


def test_names_of_photos_may_begin_with_the_names_of_others(tmp_path: Path) -> None:
    """Of `a` and `a_b`, the ids a_b_2 and a_b_10 do not belong to `a`; nor do the masks."""
    for stem, role in (("t", "train"), ("t_2", "train"), ("a", "test"), ("a_b", "test")):
        draw_photo(tmp_path / role / f"{stem}.png")
    for stem, of_class in product(("t", "t_2"), ("2", "10")):
        (tmp_path / "masks").mkdir(exist_ok=True)
        write_mask(tmp_path / "masks" / f"{stem}_{of_class}.png", box("a"))
    rows = [f"{stem}_{of_class},1 1" for stem, of_class in product(("a", "a_b"), ("2", "10"))]
    (tmp_path / "sample.csv").write_text("\n".join(["id,pixels", *rows]) + "\n")
    found = found_in(tmp_path)
    assert found["classes"].value == ["2", "10"]
    assert found["train_masks"] == Finding("masks/{stem}_{class}.png", "seen", "4 files")


def test_photos_of_another_extension_than_the_test_photos_are_named_by_their_own_in_the_table(tmp_path: Path) -> None:
    draw(tmp_path, ids="{}.png")
    for path in [*(tmp_path / "masks").iterdir()]:
        path.unlink()
    for path in [*(tmp_path / "train").iterdir()]:
        draw_photo(path.with_suffix(".jpg"))
        path.unlink()
    write_table(tmp_path / "train.csv", "id,pixels", {"a.jpg": "1 2", "b.jpg": "3 4", "c.jpg": ""})
    found = found_in(tmp_path)
    assert found["train_photos"].value == "train/{stem}.jpg"
    assert found["train_table"].value == {"id_pattern": "{stem}.jpg"}


def test_rows_of_objects_show_how_pixels_are_numbered(tmp_path: Path) -> None:
    """Each mask has two, at the left and at the right, 4 pixels high: of the wrong order they would cross lines."""
    draw(tmp_path, "a b c d e f")
    for path in (tmp_path / "masks").iterdir():
        path.unlink()
    objects = [np.roll(box("a"), by, axis=1) for by in (-2, 2)]
    rows = [f"{stem},{rle.encode(mask_HW, 'column-major')}" for stem in "abdef" for mask_HW in objects]
    (tmp_path / "train.csv").write_text("\n".join(["id,pixels", *rows]) + "\n")
    why = "so hardly a run of 10 masks goes on beyond the end of a line"
    assert found_in(tmp_path)["rle_order"] == Finding("column-major", "concluded", why)


def test_a_table_of_boxes_is_not_taken_for_run_lengths_where_one_has_their_column(tmp_path: Path) -> None:
    draw_classes(tmp_path, "id,pixels", "{stem}_{of_class},{text}")
    rows = ["a,2,10 20 30 40", "b,2,10 20 30 40"]
    (tmp_path / "boxes.csv").write_text("\n".join(["image,kind,box", *rows]) + "\n")
    (tmp_path / "train.csv").rename(tmp_path / "whole.csv")
    (tmp_path / "whole.csv").write_text("image,kind,pixels\na,2,1 2\nb,10,3 4\n")
    assert found_in(tmp_path)["train_masks"].value == "whole.csv"


def test_a_table_may_name_a_photo_that_is_not_there_and_have_a_damaged_row(tmp_path: Path) -> None:
    draw_classes(tmp_path, "id,pixels", "{stem}_{of_class},{text}")
    (tmp_path / "train.csv").write_text("image,kind,pixels\na,2,1 2\nz,2,1 2\nb\nb,10,3 4\n")
    assert found_in(tmp_path)["train_table"].value == {
        "id_pattern": "{stem}",
        "id_column": "image",
        "class_column": "kind",
    }

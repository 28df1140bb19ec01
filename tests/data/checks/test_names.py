import re
from pathlib import Path

import pytest

from kaggle_tools.data.checks.names import below_folders, fault_of, found_instead, require_usable
from kaggle_tools.errors import InputError


@pytest.mark.parametrize(
    "stem",
    [
        "001",
        "NA",
        "nan",
        "None",
        "=1+1",
        "a,b",
        'a"b',
        " a ",
        "a.b",
        "-rf",
        "Ämterfoto",
        "写真",
        "🚗",
        "x" * 251,
        "$a_b$",
    ],
)
def test_whatever_a_table_and_a_file_can_hold_is_a_name(stem: str) -> None:
    assert fault_of(stem) == ""


@pytest.mark.parametrize(
    ("stem", "fault"),
    [
        ("", "is no file name"),
        (".", "is no file name"),
        ("..", "is no file name"),
        (".hidden", "is no file name"),
        ("a/b", "is no file name"),
        ("/etc/passwd", "is no file name"),
        ("../../x", "is no file name"),
        ("a\nb", "holds a line break or another control character"),
        ("a\r", "holds a line break or another control character"),
        ("a\0b", "holds a line break or another control character"),
        ("a\x1b[2J", "holds a line break or another control character"),
        ("caf\udce9", "is not UTF-8"),
        ("x" * 252, "is longer than 251 bytes"),
        ("ä" * 126, "is longer than 251 bytes"),
    ],
)
def test_what_leads_elsewhere_or_breaks_a_table_is_no_name(stem: str, fault: str) -> None:
    assert fault_of(stem) == fault


def test_names_that_cannot_be_used_are_counted_and_shown_as_any_terminal_can_print_them() -> None:
    stems = ["a", "b\nc", "caf\udce9", "d/e", "\x1b[2J"]
    message = (
        "photos: 4 names of photos cannot be used: 'b\\nc' holds a line break or another control character, "
        "'caf\\udce9' is not UTF-8, 'd/e' is no file name and 1 more; rename them"
    )
    with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
        require_usable(Path("photos"), stems, "rename them")


@pytest.mark.parametrize(
    ("there", "found"),
    [
        ([], ""),
        (["train/a.txt"], ""),
        (["train/a.JPG", "train/b.JPG", "train/c.png"], "train holds 2 files *.JPG instead; names must end "),
        (["train/train/a.jpg"], "train/train holds 1 file *.jpg instead; photos must lie in train"),
        (["all/train/a.jpg"], "all/train holds 1 file *.jpg instead; photos must lie in train"),
    ],
)
def test_what_lies_nearby_instead_of_the_photos_is_named_with_what_to_do(
    tmp_path: Path, there: list[str], found: str
) -> None:
    for name in there:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert found_instead(tmp_path, "train/{stem}.jpg").replace(f"{tmp_path}/", "").removesuffix("with .jpg") == found


@pytest.mark.parametrize(
    ("pattern", "below"),
    [
        ("train_masks/{stem}_mask.gif", "{stem}_mask.gif"),
        ("train/masks/mask_{stem}.png", "mask_{stem}.png"),
        ("{stem}.png", "{stem}.png"),
        ("train/{stem}/mask.png", "{stem}/mask.png"),
        ("train/{stem}/masks/all.png", "{stem}/masks/all.png"),
    ],
)
def test_a_pattern_below_its_folders_still_holds_the_stem(pattern: str, below: str) -> None:
    assert below_folders(pattern) == below

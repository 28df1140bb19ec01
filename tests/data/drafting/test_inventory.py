from pathlib import Path

import pytest

from kaggle_tools.data.drafting.inventory import inventory_of
from kaggle_tools.errors import InputError


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def test_images_are_grouped_by_folder_and_extension(tmp_path: Path) -> None:
    touch(tmp_path, "train/b.jpg", "train/a.jpg", "train/a.png", "x.gif", "train/._a.jpg", "readme.txt")
    (tmp_path / "sample.csv").write_text("id,rle\na,\nb,1 2\n")
    found = inventory_of(tmp_path)
    groups = {(group.folder, group.suffix): sorted(group.by_name) for group in found.images}
    assert groups == {("train", ".jpg"): ["a", "b"], ("train", ".png"): ["a"], (".", ".gif"): ["x"]}
    assert sorted(group.pattern("_m") for group in found.images) == [
        "train/{stem}_m.jpg",
        "train/{stem}_m.png",
        "{stem}_m.gif",
    ]
    (table,) = found.tables
    assert (table.name, table.header, table.rows) == ("sample.csv", ("id", "rle"), (("a", ""), ("b", "1 2")))
    assert table.first_column == ["a", "b"]


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="elsewhere: no such folder"):
        inventory_of(tmp_path / "elsewhere")
    touch(tmp_path, "a.csv")
    with pytest.raises(InputError, match="no images in it"):
        inventory_of(tmp_path)
    touch(tmp_path / "photos", "a.jpg")
    with pytest.raises(InputError, match=r"no tables \(\*\.csv\) in it"):
        inventory_of(tmp_path / "photos")
    (tmp_path / "photos" / "b.csv").write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match=r"b\.csv: cannot be read as a table"):
        inventory_of(tmp_path / "photos")

import os
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from known_competitions import CARVANA
from numpy.typing import NDArray
from PIL import Image

from kaggle_tools.competitions.competition import Competition
from kaggle_tools.data import listing
from kaggle_tools.data.listing import Photo
from kaggle_tools.errors import InputError

STEMS = ["a_01", "a_02", "b_01"]
HEIGHT, WIDTH = 45, 70


def pixels() -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)


def mask() -> NDArray[np.bool_]:
    return np.random.default_rng(1).random((HEIGHT, WIDTH)) < 0.4


def save(path: Path, content: NDArray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(content).save(path)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three photos with masks and one without, in Carvana's layout."""
    for stem in STEMS:
        save(tmp_path / "train" / f"{stem}.jpg", pixels())
        save(tmp_path / "train_masks" / f"{stem}_mask.gif", mask())
    save(tmp_path / "test" / "c_01.jpg", pixels())
    return tmp_path


def message_of(folder: Path, competition: Competition = CARVANA) -> str:
    with pytest.raises(InputError) as refusal:
        listing.training_photos(competition, folder)
    return str(refusal.value)


def test_a_photo_whose_masks_would_have_too_long_names_is_refused_by_the_name_of_the_mask(folder: Path) -> None:
    """A mask of a class adds `_large` to the 251 bytes that a photo's own name may have with `.png`."""
    spec = replace(CARVANA, classes=("1", "large"), class_column="kind")
    for length, is_fine in ((245, True), (246, False)):
        save(folder / "test" / f"{'x' * length}.jpg", pixels())
        if is_fine:
            assert len(listing.photos_to_mask(spec, folder)[0]) == 2
        else:
            with pytest.raises(InputError, match=r"1 name of a photo cannot be used: 'x{80}' is longer than 251 bytes"):
                listing.photos_to_mask(spec, folder)
            with pytest.raises(InputError, match="longer than 251 bytes"):
                listing.photos_in(folder / "test", spec)
    assert len(listing.photos_in(folder / "test")[0]) == 3


class TestFindingTrainingPhotos:
    def test_every_photo_has_its_mask_and_its_size(self, folder: Path) -> None:
        assert listing.training_photos(CARVANA, folder) == [
            Photo(
                stem,
                folder / "train" / f"{stem}.jpg",
                (HEIGHT, WIDTH),
                folder / "train_masks" / f"{stem}_mask.gif",
            )
            for stem in STEMS
        ]

    def test_photos_may_be_of_different_sizes(self, folder: Path) -> None:
        save(folder / "train" / "b_02.jpg", pixels()[:30, :50])
        save(folder / "train_masks" / "b_02_mask.gif", mask()[:30, :50])
        sizes = {photo.stem: photo.size for photo in listing.training_photos(CARVANA, folder)}
        assert sizes == dict.fromkeys(STEMS, (HEIGHT, WIDTH)) | {"b_02": (30, 50)}

    def test_what_file_managers_leave_behind_is_ignored(self, folder: Path) -> None:
        (folder / "train" / "._a_01.jpg").write_bytes(b"not a photo")
        (folder / "train_masks" / "._a_01_mask.gif").write_bytes(b"not a mask")
        (folder / "train" / "Thumbs.db").write_bytes(b"not a photo")
        assert [photo.stem for photo in listing.training_photos(CARVANA, folder)] == STEMS

    def test_photos_without_a_mask_are_named(self, folder: Path) -> None:
        (folder / "train_masks" / "a_02_mask.gif").unlink()
        assert "  1 without a mask (train_masks/{stem}_mask.gif): a_02" in message_of(folder)

    def test_masks_without_a_photo_are_named(self, folder: Path) -> None:
        (folder / "train" / "a_02.jpg").unlink()
        assert "  1 masks without a photo (train/{stem}.jpg): a_02" in message_of(folder)

    def test_photos_of_another_naming_are_named(self, folder: Path) -> None:
        for name in ("holiday", "abc"):
            save(folder / "train" / f"{name}.jpg", pixels())
            save(folder / "train_masks" / f"{name}_mask.gif", mask())
        assert message_of(folder).endswith("  2 not named like {group}_{view}: abc, holiday")

    def test_unreadable_photos_and_masks_are_named(self, folder: Path) -> None:
        (folder / "train" / "a_01.jpg").write_bytes(b"<html>404</html>")
        (folder / "train" / "b_01.jpg").write_bytes(b"")
        (folder / "train_masks" / "a_02_mask.gif").write_bytes(b"GIF")
        assert "  3 unreadable: a_01.jpg, a_02_mask.gif, b_01.jpg" in message_of(folder)

    def test_a_mask_of_another_size_is_named_with_both(self, folder: Path) -> None:
        save(folder / "train_masks" / "a_02_mask.gif", mask()[:, :50])
        assert "  1 whose photo and mask differ in size: a_02 (70x45 and 50x45)" in message_of(folder)

    def test_one_message_says_all_that_is_wrong_with_the_training_photos(self, folder: Path) -> None:
        (folder / "train_masks" / "a_02_mask.gif").unlink()
        save(folder / "train_masks" / "z_01_mask.gif", mask())
        (folder / "train" / "a_01.jpg").write_bytes(b"")
        save(folder / "train_masks" / "b_01_mask.gif", mask()[:9])
        assert message_of(folder).splitlines() == [
            f"{folder}: repair or remove these files first",
            "  1 without a mask (train_masks/{stem}_mask.gif): a_02",
            "  1 masks without a photo (train/{stem}.jpg): z_01",
            "  1 unreadable: a_01.jpg",
            "  1 whose photo and mask differ in size: b_01 (70x45 and 70x9)",
        ]

    def test_of_many_wrong_photos_the_first_few_are_named_and_the_others_counted(self, folder: Path) -> None:
        for number in range(1200):
            (folder / "train" / f"m_{number:04}.jpg").touch()
        assert "  1,200 without a mask (train_masks/{stem}_mask.gif): m_0000, m_0001, m_0002 and 1,197 more" in (
            message_of(folder)
        )

    @pytest.mark.parametrize("missing", ["train", "train_masks"])
    def test_a_folder_without_photos_or_masks_is_not_taken_for_the_data(self, folder: Path, missing: str) -> None:
        (folder / missing).rename(folder / "elsewhere")
        pattern = {"train": CARVANA.train_photos, "train_masks": CARVANA.train_masks}[missing]
        assert message_of(folder) == (
            f"{folder / pattern.replace('{stem}', '*')}: no such files; is {folder} the folder with the data of "
            "Carvana Image Masking? For another competition, give --competition (from then on the run knows its own)"
        )

    def test_other_competitions_have_other_folders_and_formats(self, tmp_path: Path, tiles: Competition) -> None:
        nested = replace(tiles, train_photos="train/images/{stem}.png", train_masks="train/masks/m-{stem}.tif")
        for stem in ("x1", "x2"):
            save(tmp_path / "train" / "images" / f"{stem}.png", pixels())
            save(tmp_path / "train" / "masks" / f"m-{stem}.tif", mask())
        found = listing.training_photos(nested, tmp_path)
        assert [(photo.stem, photo.mask) for photo in found] == [
            (stem, tmp_path / "train" / "masks" / f"m-{stem}.tif") for stem in ("x1", "x2")
        ]

    def test_the_stem_may_be_a_folder(self, tmp_path: Path, tiles: Competition) -> None:
        nested = replace(tiles, train_photos="train/{stem}/photo.png", train_masks="train/{stem}/mask.png")
        for stem in ("x1", "x2"):
            save(tmp_path / "train" / stem / "photo.png", pixels())
            save(tmp_path / "train" / stem / "mask.png", mask())
        found = listing.training_photos(nested, tmp_path)
        assert [(photo.stem, photo.path.parent.name) for photo in found] == [("x1", "x1"), ("x2", "x2")]

    def test_all_unreadable_files_are_named_at_once_also_those_whose_header_is_whole(self, folder: Path) -> None:
        (folder / "train" / "a_01.jpg").write_bytes(b"")
        path = folder / "train" / "b_01.jpg"
        path.write_bytes(path.read_bytes()[:-200])
        mask_path = folder / "train_masks" / "a_02_mask.gif"
        mask_path.write_bytes(mask_path.read_bytes()[:-100])
        assert "  3 unreadable: a_01.jpg, a_02_mask.gif, b_01.jpg" in message_of(folder)

    @pytest.mark.parametrize("name", ["a\n_01", "caf\udce9_01", "a\x1b_01"])
    def test_names_that_no_table_can_hold_are_refused_at_the_start(self, folder: Path, name: str) -> None:
        save(folder / "train" / "x.jpg", pixels()).rename(folder / "train" / f"{name}.jpg")
        save(folder / "train_masks" / "x.gif", mask()).rename(folder / "train_masks" / f"{name}_mask.gif")
        assert message_of(folder).startswith(f"{folder}: 1 name of a photo cannot be used: {name!a} ")

    def test_files_that_differ_in_capital_letters_are_not_left_out_silently(self, folder: Path) -> None:
        (folder / "train" / "a_01.jpg").rename(folder / "train" / "a_01.JPG")
        (folder / "train_masks" / "a_01_mask.gif").rename(folder / "train_masks" / "a_01_MASK.gif")
        assert message_of(folder) == (
            f"{folder}: 1 file is not quite named like train/{{stem}}.jpg: a_01.JPG; rename them"
        )

    def test_files_of_another_kind_in_the_same_folder_are_no_misspelt_ones(
        self, tmp_path: Path, tiles: Competition
    ) -> None:
        together = replace(tiles, train_photos="all/img-{stem}.png", train_masks="all/mask-{stem}.png")
        save(tmp_path / "all" / "img-a.png", pixels())
        save(tmp_path / "all" / "mask-a.png", mask())
        save(tmp_path / "all" / "Thumbs.PNG", mask())
        assert [photo.stem for photo in listing.training_photos(together, tmp_path)] == ["a"]

    def test_where_all_names_have_capital_letters_it_is_said_what_was_found(self, folder: Path) -> None:
        for path in (folder / "train").iterdir():
            path.rename(path.with_suffix(".JPG"))
        assert message_of(folder) == (
            f"{folder}/train/*.jpg: no such files; {folder}/train holds 3 files *.JPG instead; names must end with .jpg"
        )

    def test_where_the_photos_lie_one_folder_deeper_it_is_said_where(self, folder: Path) -> None:
        (folder / "train").rename(folder / "moved")
        (folder / "train").mkdir()
        (folder / "moved").rename(folder / "train" / "train")
        assert message_of(folder) == (
            f"{folder}/train/*.jpg: no such files; {folder}/train/train holds 3 files *.jpg instead; "
            f"photos must lie in {folder}/train"
        )

    def test_where_the_data_lie_one_folder_deeper_it_is_said_where(self, folder: Path) -> None:
        (folder / "carvana").mkdir()
        (folder / "train").rename(folder / "carvana" / "train")
        assert f"{folder}/carvana/train holds 3 files *.jpg instead; photos must lie in {folder}/train" in (
            message_of(folder)
        )


class TestFindingPhotosToMask:
    def test_test_photos_have_no_masks(self, folder: Path) -> None:
        photos, unreadable = listing.photos_to_mask(CARVANA, folder)
        assert photos == [Photo("c_01", folder / "test" / "c_01.jpg", (HEIGHT, WIDTH))]
        assert unreadable == []

    def test_photos_to_mask_come_in_the_order_of_their_stems(self, folder: Path) -> None:
        for stem in ("z_01", "b_10", "b_09"):
            save(folder / "test" / f"{stem}.jpg", pixels())
        photos, _ = listing.photos_to_mask(CARVANA, folder)
        assert [photo.stem for photo in photos] == ["b_09", "b_10", "c_01", "z_01"]

    def test_unreadable_photos_to_mask_are_named_beside_the_others(self, folder: Path) -> None:
        (folder / "test" / "c_02.jpg").write_bytes(b"")
        (folder / "test" / "b_03.jpg").write_bytes(b"<html>404</html>")
        photos, unreadable = listing.photos_to_mask(CARVANA, folder)
        assert [photo.stem for photo in photos] == ["c_01"]
        assert [re.sub(r" \(.*\)$", "", what) for what in unreadable] == [
            f"{folder}/test/{stem}.jpg: not an image that can be read" for stem in ("b_03", "c_02")
        ]

    def test_all_photos_to_mask_may_be_unreadable(self, folder: Path) -> None:
        (folder / "test" / "c_01.jpg").write_bytes(b"")
        photos, unreadable = listing.photos_to_mask(CARVANA, folder)
        assert (photos, len(unreadable)) == ([], 1)

    def test_a_data_folder_without_photos_to_mask_is_refused(self, folder: Path) -> None:
        (folder / "test" / "c_01.jpg").unlink()
        with pytest.raises(InputError, match=r"test/\*\.jpg: no such files; is"):
            listing.photos_to_mask(CARVANA, folder)

    def test_any_folder_gives_all_its_photos_whatever_their_names(self, tmp_path: Path) -> None:
        for name in ("holiday.JPG", "b.png", "a.b.jpeg", "c.webp", "d.tif", "e.bmp"):
            save(tmp_path / name, pixels())
        (tmp_path / "notes.txt").write_text("not a photo")
        (tmp_path / "._b.png").write_bytes(b"not a photo")
        save(tmp_path / "below" / "f.jpg", pixels())
        photos, unreadable = listing.photos_in(tmp_path)
        assert [photo.stem for photo in photos] == ["a.b", "b", "c", "d", "e", "holiday"]
        assert unreadable == []

    def test_two_photos_that_would_share_a_mask_are_refused(self, tmp_path: Path) -> None:
        for name in ("a.png", "a.jpg", "b.png"):
            save(tmp_path / name, pixels())
        with pytest.raises(InputError, match=r"differ only in their extension would share a mask: a\.(png|jpg)$"):
            listing.photos_in(tmp_path)

    @pytest.mark.parametrize(
        ("name", "message"),
        [
            (".", "no photos (.bmp, .jpeg, .jpg, .png, .tif, .tiff, .webp) in it"),
            ("nowhere", "nowhere: no such folder"),
        ],
    )
    def test_a_folder_without_photos_is_refused(self, tmp_path: Path, name: str, message: str) -> None:
        with pytest.raises(InputError, match=re.escape(message)):
            listing.photos_in(tmp_path / name)

    def test_an_unreadable_photo_in_any_folder_is_named_beside_the_others(self, tmp_path: Path) -> None:
        save(tmp_path / "a.png", pixels())
        (tmp_path / "b.png").write_bytes(b"")
        photos, unreadable = listing.photos_in(tmp_path)
        assert photos == [Photo("a", tmp_path / "a.png", (HEIGHT, WIDTH))]
        assert len(unreadable) == 1
        assert unreadable[0].startswith(f"{tmp_path}/b.png: not an image that can be read (")

    @pytest.mark.parametrize("name", ["a\nb", "a\rb", "caf\udce9", "a\x1b[2J"])
    def test_names_that_no_table_can_hold_are_refused_in_any_folder(self, tmp_path: Path, name: str) -> None:
        save(tmp_path / "x.png", pixels()).rename(tmp_path / f"{name}.png")
        save(tmp_path / "good.png", pixels())
        with pytest.raises(InputError, match=re.escape(f"{tmp_path}: 1 name of a photo cannot be used: {name!a} ")):
            listing.photos_in(tmp_path)

    def test_a_folder_whose_own_name_no_table_can_hold_is_refused(self, tmp_path: Path) -> None:
        save(tmp_path / "photos" / "a.png", pixels())
        folder = (tmp_path / "photos").rename(tmp_path / "caf\udce9")
        with pytest.raises(InputError, match="a path that is not UTF-8 fits into no table; move the photos elsewhere"):
            listing.photos_in(folder)

    def test_where_only_subfolders_hold_photos_they_are_named(self, tmp_path: Path) -> None:
        for name in ("monday", "tuesday"):
            save(tmp_path / name / "a.png", pixels())
        with pytest.raises(InputError, match="but in monday, tuesday below it; subfolders are not searched, so give"):
            listing.photos_in(tmp_path)

    def test_a_named_pipe_among_photos_is_named_as_unreadable(self, tmp_path: Path) -> None:
        save(tmp_path / "a.png", pixels())
        os.mkfifo(tmp_path / "b.png")
        photos, unreadable = listing.photos_in(tmp_path)
        assert [photo.stem for photo in photos] == ["a"]
        assert unreadable == [f"{tmp_path}/b.png: not a regular file"]

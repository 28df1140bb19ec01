import dataclasses
import zipfile
from pathlib import Path

import pytest
from known_competitions import CARVANA, CLOUDS, POOLED, SALT, STEEL

from kaggle_tools.competitions.competition import Competition, TrainTable
from kaggle_tools.competitions.toml_file import packaged, packaged_competition
from kaggle_tools.data import archives
from kaggle_tools.demo.subjects import SUBJECTS


def test_an_id_of_carvana_leads_to_its_photo_and_back() -> None:
    assert CARVANA.name_of("0004d4463b50_01.jpg") == "0004d4463b50_01"
    assert CARVANA.id_of("0004d4463b50_01") == "0004d4463b50_01.jpg"


def test_a_stem_of_carvana_names_its_car_and_angle() -> None:
    assert CARVANA.group_and_view("0004d4463b50_16") == ("0004d4463b50", "16")
    assert CARVANA.stem("0004d4463b50", "16") == "0004d4463b50_16"


@pytest.mark.parametrize("photo_id", ["0004d4463b50_01", "0004d4463b50_01.png", "../0004d4463b50_01.jpg", "", ".jpg"])
def test_a_photo_id_of_another_form_is_refused(photo_id: str) -> None:
    with pytest.raises(ValueError, match=r"is not of the form \{stem\}\.jpg, as in Carvana"):
        CARVANA.name_of(photo_id)


def test_a_stem_without_an_angle_is_refused() -> None:
    with pytest.raises(ValueError, match=r"'0004d4463b50' is not of the form \{group\}_\{view\}"):
        CARVANA.group_and_view("0004d4463b50")


def test_the_dot_in_a_competitions_pattern_is_not_any_character() -> None:
    with pytest.raises(ValueError, match="is not of the form"):
        CARVANA.name_of("0004d4463b50_01xjpg")


def test_the_id_of_a_photo_may_be_its_stem(tiles: Competition) -> None:
    assert tiles.name_of("a1.b-2") == "a1.b-2"
    assert tiles.id_of("a1.b-2") == "a1.b-2"


def test_without_groups_each_photo_is_a_group_of_its_own(tiles: Competition) -> None:
    assert [tiles.group_and_view(stem)[0] for stem in ("a_1", "a_2")] == ["a_1", "a_2"]


def test_the_photos_of_a_competition_have_the_size_that_kaggle_gives_them() -> None:
    assert CARVANA.photo_size == (1280, 1918)  # height and width
    assert SALT.photo_size == (101, 101)


def test_folds_of_salt_hold_alike_shares_of_photos_by_tenths_of_coverage() -> None:
    assert SALT.coverage_strata == pytest.approx([tenth / 10 for tenth in range(10)])


def test_an_id_of_salt_is_its_stem_and_each_photo_a_group_of_its_own() -> None:
    assert SALT.name_of("000e218f21") == SALT.id_of("000e218f21") == "000e218f21"
    assert SALT.group_and_view("000e218f21") == ("000e218f21", "000e218f21")


def test_salts_archives_unpack_to_where_its_photos_are_looked_for(tmp_path: Path) -> None:
    """Kaggle's train.zip holds images/ and masks/, its test.zip images/: without the folder they would mix."""
    inside = {"train.zip": [SALT.train_photos, SALT.train_masks], "test.zip": [SALT.test_photos]}
    for archive in SALT.archives:
        for pattern in inside.get(archive.name, []):
            member = pattern.format(stem="a").split("/", 1)[1]
            with zipfile.ZipFile(tmp_path / archive.name, "a") as file:
                file.writestr(member, "content")
            archives.unpack(tmp_path / archive.name, tmp_path / "data", archive)
            assert (tmp_path / "data" / pattern.format(stem="a")).is_file()


def test_only_carvana_is_scored_by_dice(tiles: Competition) -> None:
    assert [competition.scored_by_dice for competition in (CARVANA, SALT, tiles)] == [True, False, False]


def test_of_a_score_over_all_pixels_a_photo_has_the_dice_and_the_mean_dice_is_another_score() -> None:
    assert POOLED.scored_by_dice
    assert POOLED.photo_score_name == "Dice"
    assert SALT.photo_score_name == "mean precision"
    assert (POOLED.score_of_several, SALT.score_of_several) == ("global", "mean")
    assert POOLED.further_scores == {"Dice": "dice", "IoU": "iou"}


def test_the_further_scores_leave_out_the_competitions_own(tiles: Competition) -> None:
    assert CARVANA.further_scores == {"IoU": "iou"}
    assert SALT.further_scores == {"Dice": "dice", "IoU": "iou"}
    assert tiles.further_scores == {"Dice": "dice"}


@pytest.mark.parametrize("competition", [CARVANA, SALT, STEEL, CLOUDS], ids=["Carvana", "Salt", "Steel", "Clouds"])
def test_each_competition_has_a_demo(competition: Competition) -> None:
    assert competition.demo in SUBJECTS


def test_a_competition_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        CARVANA.rle_first = 0  # type: ignore[misc]


def test_each_competition_is_known_by_its_slug() -> None:
    assert all(packaged_competition(slug).slug == slug for slug in packaged())


@pytest.mark.parametrize("competition", [CARVANA, SALT], ids=["Carvana", "Salt"])
def test_each_pattern_of_a_competition_holds_the_stem_once(competition: Competition) -> None:
    patterns = [competition.train_photos, competition.train_masks, competition.test_photos, competition.id_pattern]
    assert [pattern.count("{stem}") for pattern in patterns] == [1, 1, 1, 1]


IN_THE_ID = dataclasses.replace(CARVANA, classes=("1", "2", "large_bowel"), id_pattern="{stem}.jpg_{class}")
IN_A_COLUMN = dataclasses.replace(CARVANA, classes=("1", "2", "large_bowel"), class_column="class")


@pytest.mark.parametrize(
    ("competition", "name", "mask_id"),
    [
        (IN_THE_ID, "car_01_2", "car_01.jpg_2"),
        (IN_THE_ID, "car_01_large_bowel", "car_01.jpg_large_bowel"),
        (IN_A_COLUMN, "car_01_2", "car_01.jpg,2"),
        (CARVANA, "car_01", "car_01.jpg"),
    ],
)
def test_a_mask_is_named_by_photo_and_class(competition: Competition, name: str, mask_id: str) -> None:
    assert competition.id_of(name) == mask_id
    assert competition.name_of(mask_id) == name
    assert name in competition.names_of("car_01")
    assert competition.stem_and_class(name) == ("car_01", name.removeprefix("car_01").lstrip("_"))


def test_names_are_in_the_order_of_the_classes() -> None:
    assert IN_THE_ID.names_of("a") == ("a_1", "a_2", "a_large_bowel")
    assert CARVANA.names_of("a") == ("a",)


def test_an_unknown_class_is_refused() -> None:
    with pytest.raises(ValueError, match="'car_01.jpg_3' is not of the form"):
        IN_THE_ID.name_of("car_01.jpg_3")
    with pytest.raises(ValueError, match="does not end with _ and one of the classes 1, 2, large_bowel"):
        IN_THE_ID.stem_and_class("car_01_3")


def test_the_fields_of_a_row_name_the_mask_in_as_many_columns_as_the_csv_has_for_it() -> None:
    assert IN_THE_ID.id_fields("car_01_2") == ("car_01.jpg_2",)
    assert IN_A_COLUMN.id_fields("car_01_2") == ("car_01.jpg", "2")
    assert CARVANA.id_fields("car_01") == ("car_01.jpg",)


def test_a_training_table_may_name_masks_otherwise_than_the_csv() -> None:
    table = STEEL.as_in_train_table
    assert (STEEL.columns[:-1], STEEL.id_of("0002cc93b_1")) == (("ImageId_ClassId",), "0002cc93b.jpg_1")
    assert (table.columns[:-1], table.id_of("0002cc93b_1")) == (("ImageId", "ClassId"), "0002cc93b.jpg,1")
    assert table.rle_column == STEEL.rle_column == "EncodedPixels"
    assert CARVANA.as_in_train_table is CARVANA


def test_a_training_table_may_have_the_class_in_the_id_where_the_csv_has_a_column() -> None:
    table = dataclasses.replace(IN_A_COLUMN, train_table=TrainTable(id_pattern="{stem}-{class}")).as_in_train_table
    assert (table.columns[:-1], table.id_of("car_01_2")) == (("img",), "car_01-2")


def test_steel_and_clouds_ask_for_a_mask_of_each_of_four_classes() -> None:
    assert STEEL.names_of("a") == ("a_1", "a_2", "a_3", "a_4")
    assert CLOUDS.id_of("0011165_Fish") == "0011165.jpg_Fish"
    assert CLOUDS.name_of("0011165.jpg_Sugar") == "0011165_Sugar"
    assert (STEEL.photo_size, STEEL.mask_size, STEEL.notebooks_only) == ((256, 1600), None, True)
    assert (CLOUDS.photo_size, CLOUDS.mask_size, CLOUDS.notebooks_only) == ((1400, 2100), (350, 525), False)
    assert all(
        (one.rle_order, one.rle_first, one.scored_by_dice) == ("column-major", 1, True) for one in (STEEL, CLOUDS)
    )

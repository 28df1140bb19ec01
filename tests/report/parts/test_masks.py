import base64
import io
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from finished_runs import box, draw_photos, write_pred
from known_competitions import CARVANA, POOLED
from PIL import Image

from kaggle_tools.competitions.competition import Competition
from kaggle_tools.data.images import write_mask
from kaggle_tools.data.listing import Photo
from kaggle_tools.errors import InputError
from kaggle_tools.report.parts.masks import Deviations, MasksPart, deviations_of, masks_part, sheet_lines
from kaggle_tools.results import pred_folder
from kaggle_tools.results.records.masks import MaskedPhoto, Record
from kaggle_tools.results.scores import Estimate, ExpectedScore
from kaggle_tools.system.files import sha256

SIZES = {"compact": 0.1, "coupe": 0.13, "estate": 0.16, "van": 0.22}
SIZES |= {f"car {number}": number / 100 for number in (8, 9, 11, 12, 14, 15, 18, 20)}
VIEWS = {"01": 0.7, "02": 1.0, "03": 1.3, "04": 1.6}
AREAS = {f"{car}_{view}": size * share for (car, size), (view, share) in product(SIZES.items(), VIEWS.items())}
"""What each car covers from each angle."""


def masked(areas: dict[str, float]) -> list[MaskedPhoto]:
    return [MaskedPhoto(image=stem, file=Path(f"{stem}.jpg"), area=area) for stem, area in areas.items()]


def deviations(areas: dict[str, float]) -> Deviations:
    found = deviations_of(masked(areas), CARVANA)
    assert found is not None
    return found


class TestUnusualAreas:
    def test_areas_of_large_cars_and_broad_sides_are_not_unusual(self) -> None:
        found = deviations(AREAS)
        assert list(found.ratios.values()) == pytest.approx([1] * 48)
        assert found.outliers == []

    def test_a_mask_of_half_the_usual_area_is_the_only_outlier(self) -> None:
        found = deviations(AREAS | {"coupe_01": AREAS["coupe_01"] / 2})  # still the least of its car
        assert found.ratios == pytest.approx(dict.fromkeys(AREAS, 1) | {"coupe_01": 0.5})
        assert found.outliers == ["coupe_01"]

    @pytest.mark.parametrize(("factor", "outlier"), [(1.04, False), (1.06, True), (0.96, False), (0.94, True)])
    def test_where_all_other_areas_agree_a_twentieth_is_unusual(self, factor: float, outlier: bool) -> None:
        stem = "van_04" if factor > 1 else "van_01"
        assert (stem in deviations(AREAS | {stem: AREAS[stem] * factor}).outliers) == outlier

    def test_the_limit_of_outliers_is_five_standard_deviations_of_usual_areas(self) -> None:
        generator = np.random.default_rng(3)
        noise = generator.normal(0, 0.1, (30, 16))
        noise[4, 7], noise[12, 0] = 0.8, -0.9
        logs = noise + generator.normal(-1.5, 0.3, (30, 1)) + generator.normal(0, 0.3, 16)
        stems = [f"{car}_{view}" for car in range(30) for view in range(16)]
        found = deviations(dict(zip(stems, np.exp(logs).ravel(), strict=True)))
        assert np.median(np.abs(list(found.logs.values()) - noise.ravel())) < 0.03
        assert found.limit == pytest.approx(5 * 0.1, rel=0.15)
        assert np.log(found.ratio_limits) == pytest.approx([-found.limit, found.limit])
        assert found.outliers == ["12_0", "4_7"]

    def test_a_blank_mask_has_no_ratio_and_makes_no_other_of_its_car_unusual(self) -> None:
        found = deviations(AREAS | {"van_01": 0.0, "coupe_01": AREAS["coupe_01"] / 2})
        assert found.ratios.keys() == AREAS.keys() - {"van_01"}
        assert found.outliers == ["coupe_01"]

    @pytest.mark.parametrize(("cars", "known"), [(9, False), (10, True)])
    def test_usual_areas_are_not_known_of_fewer_than_ten_cars(self, cars: int, known: bool) -> None:
        few = {stem: area for stem, area in AREAS.items() if stem.split("_")[0] in list(SIZES)[:cars]}
        few["compact_01"] /= 2
        found = deviations_of(masked(few), CARVANA)
        assert (found is not None) == known
        assert found is None or (found.ratios.keys(), found.outliers) == (few.keys(), ["compact_01"])

    def test_a_photo_that_is_alone_in_its_group_is_not_held_against_itself(self) -> None:
        alone = {f"old {number}_01": area for number, area in enumerate([0.1, 0.1, 0.9] * 4)}
        assert deviations(AREAS | alone).ratios.keys() == AREAS.keys()
        assert deviations_of(masked(alone), CARVANA) is None

    def test_a_mask_whose_group_has_else_but_blank_ones_is_not_held_against_itself(self) -> None:
        blank = {f"old {number}_0{view}": 0.3 * (view == 1) for number in range(12) for view in (1, 2, 3)}
        assert deviations(AREAS | blank).ratios.keys() == AREAS.keys()
        assert deviations_of(masked(blank), CARVANA) is None

    def test_classes_have_usual_areas_of_their_own(self) -> None:
        """Of the second class, twice as large, a group has but one mask that is not blank."""
        of_classes = replace(CARVANA, classes=("a", "b"))
        areas = {f"{stem}_a": area for stem, area in AREAS.items()}
        areas |= {f"{stem}_b": 2 * area for stem, area in AREAS.items() if not stem.startswith("van")}
        areas |= {"van_01_b": 0.9, "van_02_b": 0.0, "van_03_b": 0.0, "van_04_b": 0.0}
        found = deviations_of(masked(areas), of_classes)
        assert found is not None
        assert found.ratios == pytest.approx(
            {stem: 1 for stem in areas if not stem.startswith("van") or stem[-1] == "a"}
        )

    def test_usual_areas_are_not_known_of_photos_that_are_not_named_as_the_competitions(self) -> None:
        assert deviations_of(masked(AREAS | {"portrait": 0.2}), CARVANA) is None

    def test_usual_areas_are_not_known_without_groups(self, tiles: Competition) -> None:
        assert deviations_of(masked(AREAS), tiles) is None

    def test_usual_areas_are_not_known_where_all_masks_are_blank(self) -> None:
        assert deviations_of(masked(dict.fromkeys(AREAS, 0.0)), CARVANA) is None


class TestLinesOfTheSheet:
    def test_a_line_of_the_contact_sheet_is_a_car_in_the_order_of_its_angles(self) -> None:
        shuffled = ["van_03", "coupe_02", "van_01", "coupe_01", "van_02"]
        assert sheet_lines(shuffled, CARVANA) == [
            ("coupe", ["coupe_01", "coupe_02"]),
            ("van", ["van_01", "van_02", "van_03"]),
        ]

    def test_without_groups_a_line_of_the_contact_sheet_holds_sixteen(self, tiles: Competition) -> None:
        stems = [f"{number:02}" for number in range(20)]
        assert sheet_lines(stems[::-1], tiles) == [("00 …", stems[:16]), ("16 …", stems[16:])]

    def test_a_car_of_more_photos_has_several_lines_of_up_to_sixteen(self) -> None:
        stems = [f"van_{number:02}" for number in range(36)]
        lines = sheet_lines([*reversed(stems), "coupe_01"], CARVANA)
        assert lines == [("coupe", ["coupe_01"]), ("van", stems[:16]), ("van", stems[16:32]), ("van", stems[32:])]


CARS = "0123456789ab"
COLUMNS = {f"{car}_{view:02}": 30 + 3 * (view % 3) + at for at, car in enumerate(CARS) for view in (1, 2, 3, 4)}
"""How broad the masks are, of twelve cars from four angles."""
UNUSUAL = COLUMNS | {"2_03": 8, "1_02": 0}


@pytest.fixture(scope="module")
def pred(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One mask too narrow, one blank, one that someone has edited, and one whose photo was lost."""
    folder = tmp_path_factory.mktemp("pred")
    draw_photos(folder, list(UNUSUAL))
    pred = write_pred(folder / "masks of test", folder / "train", UNUSUAL)
    (folder / "train" / "0_01.jpg").unlink()
    write_mask(pred_folder.mask_path(pred, "3_04"), box())
    record = pred_folder.read_record(pred)
    pred_folder.finish(pred, record, [Photo(stem, folder / "train" / f"{stem}.jpg", (60, 90)) for stem in UNUSUAL])
    return pred


@pytest.fixture(scope="module")
def part(pred: Path) -> MasksPart:
    return masks_part(pred, CARVANA)


def pixels(source: str) -> np.ndarray:
    with Image.open(io.BytesIO(base64.b64decode(source.partition(",")[2]))) as image:
        return np.asarray(image.convert("L")).astype(int)


class TestPart:
    def test_the_line_about_masks_says_what_made_them(self, part: MasksPart) -> None:
        assert (part.name, part.count) == ("masks of test", 48)
        assert part.line == "masks of unet, TTA hflip, threshold 0.5"

    def test_blank_masks_are_named_and_unusual_ones_counted(self, part: MasksPart) -> None:
        assert (part.blank, part.full, part.outliers) == (["1_02"], [], 1)

    def test_a_mask_that_covers_all_is_named(self, tmp_path: Path, tiles: Competition) -> None:
        write_mask(pred_folder.mask_path(tmp_path, "7"), np.ones((4, 6), dtype=bool), {"area": 1.0})
        pred_folder.finish(tmp_path, Record(competition=tiles.slug, threshold=0.5), [Photo("7", Path("7.png"), (4, 6))])
        part = masks_part(tmp_path, tiles)
        assert (part.full, part.outliers, part.line) == (["7"], None, "masks of unknown networks, threshold 0.5")

    def test_blank_and_full_masks_are_shown_first_where_they_hardly_can_be_right(self, part: MasksPart) -> None:
        assert part.doubts == ["1 of 48 masks is blank, where every photo has foreground"]
        assert [(picture.stem, picture.caption) for picture in part.odd.pictures] == [("1_02", "blank")]

    def test_blank_masks_are_nothing_odd_where_they_are_usual_and_may_be_the_most_doubtful(
        self, tmp_path: Path
    ) -> None:
        columns = {f"{number:02}": 30 for number in range(6)} | {"06": 0, "07": 0, "08": 0}
        part = masks_part(write_pred(tmp_path, tmp_path, columns), replace(CARVANA, blank_share=0.4))
        assert (part.doubts, part.odd.pictures, part.blank) == ([], [], ["06", "07", "08"])
        assert part.most_doubtful.stem == "06"

    def test_masks_that_were_deleted_are_counted_apart(self, tmp_path: Path) -> None:
        pred = write_pred(tmp_path, tmp_path, {"a_01": 30, "a_02": 30, "a_03": 30})
        for stem in ("a_01", "a_03"):
            pred_folder.mask_path(pred, stem).unlink()
        part = masks_part(pred, CARVANA)
        assert part.count == 1
        assert part.doubts == ["2 masks were deleted: a_01, a_03; the same `infer` command makes them again"]
        pred_folder.mask_path(pred, "a_02").unlink()
        with pytest.raises(InputError, match="there is no mask in it"):
            masks_part(pred, CARVANA)

    def test_the_expected_dice_of_masks_is_the_mean_of_those_that_are_known(self, part: MasksPart) -> None:
        known = [0.5 + columns / 100 for stem, columns in UNUSUAL.items() if stem != "3_04"]
        assert part.expected_of_masks == pytest.approx(sum(known) / 47)

    def test_the_most_doubtful_masks_come_first(self, part: MasksPart) -> None:
        doubtful = sorted(UNUSUAL.keys() - {"3_04", "1_02"}, key=lambda stem: (UNUSUAL[stem], stem))
        shown = [picture for picture in part.galleries[0].pictures if picture.stem != "3_04"]
        assert [picture.stem for picture in shown] == doubtful[: len(shown)]
        assert (len(part.galleries[0].pictures), shown[0].caption) == (24, "expected Dice 0.5800")
        assert part.most_doubtful == part.galleries[0].pictures[0]

    def test_a_mask_that_was_edited_is_doubted_before_all_others(self, part: MasksPart) -> None:
        first = part.galleries[0].pictures[0]
        assert (first.stem, first.caption) == ("3_04", "changed since `infer` wrote it")
        assert part.table.texts()[0] == ["3_04", "", "", "", ""]

    def test_a_blank_mask_is_in_its_list_but_not_among_the_most_doubtful(self, tmp_path: Path) -> None:
        part = masks_part(write_pred(tmp_path, tmp_path, {"a_01": 0, "a_02": 30, "a_03": 0}), CARVANA)
        assert part.blank == ["a_01", "a_03"]
        assert [picture.stem for picture in part.galleries[0].pictures] == ["a_02"]
        assert [row[0] for row in part.table.rows] == ["a_02"]

    def test_if_all_masks_are_blank_they_are_shown(self, tmp_path: Path) -> None:
        part = masks_part(write_pred(tmp_path, tmp_path, {"a_01": 0, "a_02": 0}), CARVANA)
        assert part.blank == ["a_01", "a_02"]
        assert [picture.stem for picture in part.galleries[0].pictures] == ["a_01", "a_02"]

    def test_masks_of_unusual_area_are_shown_with_their_ratio(self, part: MasksPart) -> None:
        (picture,) = part.galleries[1].pictures
        (ratio,) = [row[3] for row in part.table.rows if row[0] == "2_03"]
        assert ratio == pytest.approx(8 / 32, rel=0.02)
        assert (picture.stem, picture.caption) == ("2_03", f"{ratio:.2f} times the usual area")

    def test_a_lost_photo_of_a_mask_is_said_to_be_lost(self, part: MasksPart) -> None:
        unseen = {picture.stem: picture for picture in part.galleries[0].pictures if not picture.full}
        assert unseen.keys() == {"0_01", "3_04"}
        assert unseen["0_01"].thumbnail == ""
        assert "train/0_01.jpg: cannot be read" in unseen["0_01"].errors

    def test_a_photo_of_which_only_the_path_is_recorded_is_shown_from_a_folder_that_is_named(
        self, pred: Path, part: MasksPart
    ) -> None:
        """A stranger's photos.csv could name any picture of this machine. Who edits a mask loses its notes."""
        (not_shown,) = [picture for picture in part.galleries[0].pictures if picture.stem == "3_04"]
        assert not_shown.errors.endswith(
            "3_04.jpg: not shown, as its SHA-256 is not recorded; name the photos' folder by --data"
        )
        named = masks_part(pred, CARVANA, pred.parent / "train")
        (shown,) = [picture for picture in named.galleries[0].pictures if picture.stem == "3_04"]
        assert shown.full
        assert (shown.errors, shown.thumbnail != "") == ("", True)

    def test_another_picture_under_the_recorded_path_is_not_shown(self, tmp_path: Path) -> None:
        """Its SHA-256 is not the one that the mask notes: who has written the table does not know the picture."""
        draw_photos(tmp_path, list(COLUMNS))
        pred = write_pred(tmp_path / "pred", tmp_path / "train", COLUMNS)
        private = tmp_path / "private.jpg"
        Image.new("RGB", (90, 60), "red").save(private)
        table = pred / "photos.csv"
        doubtful = pred_folder.read_photos(pred)[0]
        table.write_text(table.read_text().replace(str(doubtful.file), str(private)))
        picture = masks_part(pred, CARVANA).galleries[0].pictures[0]
        assert (picture.stem, picture.full, picture.thumbnail) == (doubtful.image, "", "")
        assert picture.errors == f"{private}: is no longer what it was when the photo was masked"

    def test_photos_that_were_moved_are_found_in_the_folder_of_the_data(self, tmp_path: Path) -> None:
        draw_photos(tmp_path, list(COLUMNS))
        pred = write_pred(tmp_path / "pred", tmp_path / "train", COLUMNS)
        (tmp_path / "data").mkdir()
        (tmp_path / "train").rename(tmp_path / "data" / "test")
        assert not any(picture.full for picture in masks_part(pred, CARVANA).galleries[0].pictures)
        assert all(picture.full for picture in masks_part(pred, CARVANA, tmp_path / "data").galleries[0].pictures)

    def test_the_table_of_masks_holds_all_but_the_blank(self, part: MasksPart) -> None:
        rows = {row[0]: row for row in part.table.texts()}
        assert rows.keys() | {"3_04"} == UNUSUAL.keys() - {"1_02"}
        assert len(rows) == len(part.table.rows)
        assert rows["2_03"][:3] == ["2_03", "0.58000", f"{8 * 20 / 54:.2f}"]
        assert rows["0_01"][:3] == ["0_01", "0.83000", f"{33 * 20 / 54:.2f}"]

    def test_an_edited_mask_puts_no_nan_into_the_words(self, part: MasksPart) -> None:
        said = [plot.alt for plot in part.plots] + [picture.caption for picture in part.galleries[0].pictures]
        assert [text for text in said if "nan" in text] == []

    def test_masks_without_recorded_numbers_are_shown(self, tmp_path: Path) -> None:
        pred = write_pred(tmp_path, tmp_path, {"a_01": 30})
        write_mask(pred_folder.mask_path(pred, "a_01"), box())
        pred_folder.finish(pred, pred_folder.read_record(pred), [Photo("a_01", tmp_path / "a_01.jpg", (60, 90))])
        assert [row.masks for row in masks_part(pred, CARVANA).sheet] == [1]

    @pytest.mark.parametrize("size", [(100_000, 1), (1, 100_000)])
    def test_a_mask_of_a_strange_shape_does_not_swell_the_contact_sheet(
        self, tmp_path: Path, size: tuple[int, int]
    ) -> None:
        pred = write_pred(tmp_path, tmp_path, {"a_01": 30})
        write_mask(pred_folder.mask_path(pred, "a_01"), np.ones(size, bool))
        pred_folder.finish(pred, pred_folder.read_record(pred), [Photo("a_01", tmp_path / "a_01.jpg", size)])
        (row,) = masks_part(pred, CARVANA).sheet
        assert pixels(row.strip).shape == (240 if size[0] > 1 else 1, 62)

    def test_the_contact_sheet_shows_masks_in_the_order_of_their_angles(self, pred: Path, part: MasksPart) -> None:
        assert [(row.name, row.masks) for row in part.sheet] == [(car, 4) for car in CARS]
        for row in part.sheet:
            strip_HW = pixels(row.strip)
            assert strip_HW.shape == (40, 4 * 62)
            for at, cell_HW in enumerate(np.hsplit(strip_HW, 4)):
                with Image.open(pred_folder.mask_path(pred, f"{row.name}_{at + 1:02}")) as mask:
                    doubled_HW = np.asarray(mask.convert("L")).repeat(2, axis=0).repeat(2, axis=1)
                small_HW = doubled_HW.reshape(40, 3, 60, 3).mean(axis=(1, 3))
                assert np.abs(cell_HW[:, :60] - small_HW).max() <= 1
                assert (cell_HW[:, 60:] == 128).all()

    def test_the_contact_sheet_shows_forty_of_many_cars_from_the_first_to_the_last(self, tmp_path: Path) -> None:
        part = masks_part(write_pred(tmp_path, tmp_path, {f"{car:02}_01": 30 for car in range(90)}), CARVANA)
        assert (len(part.sheet), part.sheet_of) == (40, 90)
        assert (part.sheet[0].name, part.sheet[-1].name) == ("00", "89")

    def test_a_lost_mask_is_left_out_of_the_contact_sheet(self, tmp_path: Path) -> None:
        pred = write_pred(tmp_path, tmp_path, {"a_01": 30, "a_02": 30})
        pred_folder.mask_path(pred, "a_01").unlink()
        (row,) = masks_part(pred, CARVANA).sheet
        assert (row.masks, pixels(row.strip).shape) == (1, (40, 62))

    def test_a_folder_without_masks_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="there is no mask in it"):
            masks_part(write_pred(tmp_path, tmp_path, {}), CARVANA)


@pytest.mark.parametrize(
    ("record", "expected", "why"),
    [
        ({"expected": ExpectedScore(Estimate(0.9, (0.8, 0.95)))}, (0.9, (0.8, 0.95)), ""),
        ({"expected": ExpectedScore(None, "no fold is finished")}, None, "no fold is finished"),
        ({}, None, "not recorded"),
    ],
)
def test_the_expected_score_of_masks_is_that_of_run_json(
    tmp_path: Path, record: dict, expected: tuple | None, why: str
) -> None:
    part = masks_part(write_pred(tmp_path, tmp_path, {"a_01": 30}, **record), CARVANA)
    assert (part.expected, part.why_unknown) == (expected, why)


@pytest.mark.parametrize(("excess", "expected"), [(0.02, 0.78), (-0.3, 1.0), (None, 0.8)])
def test_the_score_expected_from_probabilities_is_corrected_by_what_it_was_wrong_on_held_out_photos(
    tmp_path: Path, excess: float | None, expected: float
) -> None:
    """30 columns of foreground are written with an expected Dice of 0.8."""
    unknown = ExpectedScore(None, "another TTA", excess)
    part = masks_part(write_pred(tmp_path, tmp_path, {"a_01": 30}, expected=unknown), CARVANA)
    assert (part.expected_of_masks, part.excess) == (pytest.approx(expected), excess)


def test_over_all_pixels_the_score_expected_from_probabilities_is_that_of_the_expected_pixels(tmp_path: Path) -> None:
    """The first photo has four times the pixels of the second; a third one notes too little."""
    notes = {"a_01": (0.25, 0.5, 0.25), "b_01": (0.5, 0.8, 0.75), "c_01": (0.5, 0.1, None)}
    masked = []
    for stem, (area, dice, truth) in notes.items():
        size = (20, 40) if stem == "a_01" else (10, 20)
        noted = {"area": area, "expected_dice": dice, "border_width": 1, "expected_score": dice}
        noted |= {} if truth is None else {"expected_truth": truth}
        write_mask(pred_folder.mask_path(tmp_path, stem), np.ones(size, dtype=bool), noted)
        masked.append(Photo(stem, tmp_path / f"{stem}.jpg", size))
    pred_folder.finish(tmp_path, Record(competition=POOLED.slug), masked)
    # 100 of 200 and 200 pixels shared, and 100 of 100 and 150: twice the shared over all.
    assert (tmp_path / "photos.csv").read_text().startswith("image,file,area,expected_dice,border_width,agreement,exp")
    found = masks_part(tmp_path, POOLED).expected_of_masks
    assert found == pytest.approx(2 * (100 + 100) / (200 + 200 + 100 + 150))
    assert masks_part(tmp_path, CARVANA).expected_of_masks == pytest.approx((0.5 + 0.8 + 0.1) / 3)


def test_a_photo_that_changed_since_it_was_masked_is_not_shown_with_its_mask(tmp_path: Path) -> None:
    draw_photos(tmp_path / "data", ["a_01", "b_01"])
    pred = write_pred(tmp_path / "pred", tmp_path / "data" / "train", {"a_01": 20, "b_01": 30})
    for stem in ("a_01", "b_01"):
        path = tmp_path / "data" / "train" / f"{stem}.jpg"
        write_mask(pred_folder.mask_path(pred, stem), box(), pred_folder.photo_note(sha256(path)))
    Image.new("RGB", (90, 60)).save(tmp_path / "data" / "train" / "a_01.jpg")
    shown = {picture.stem: picture for picture in masks_part(pred, CARVANA).galleries[0].pictures}
    path = tmp_path / "data" / "train" / "a_01.jpg"
    assert shown["a_01"].errors == f"{path}: is no longer what it was when the photo was masked"
    assert (bool(shown["a_01"].full), bool(shown["b_01"].full)) == (False, True)

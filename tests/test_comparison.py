import json
from pathlib import Path

import pandas as pd
import pytest

from kaggle_tools import comparison
from kaggle_tools.comparison import ComparedRun
from kaggle_tools.competition import CARVANA
from kaggle_tools.errors import InputError

Scores = dict[str, float]


def write_run(run: Path, folds: dict[int, Scores], **settings: object) -> Path:
    for fold, scores in folds.items():
        folder = run / f"fold{fold}"
        folder.mkdir(parents=True)
        rows = [(image, fold, score, score / 2, score / 4) for image, score in scores.items()]
        table = pd.DataFrame(rows, columns=["image", "fold", "score", "dice", "iou"])
        table.to_csv(folder / "oof.csv", index=False)
    run.mkdir(exist_ok=True)
    whole = {"model": "unet", "width": 16, "image_size": [96, 160]} | settings
    (run / "config.json").write_text(json.dumps({"settings": whole}))
    return run


def compare(runs: list[Path]) -> list[ComparedRun]:
    return comparison.compare(runs, CARVANA).runs


def test_runs_are_compared_photo_by_photo_in_the_order_given(tmp_path: Path) -> None:
    first = write_run(tmp_path / "first", {0: {"a_01": 0.9, "a_02": 0.7}, 1: {"b_01": 0.5}})
    second = write_run(
        tmp_path / "second",
        {0: {"a_02": 0.8, "a_01": 0.95}, 1: {"b_01": 0.4}},  # the photos in another order
        model="smp:Unet/resnet34",
        image_size=None,
    )
    one, two = compare([first, second])
    assert (one.run, one.model, one.image_size) == (first, "unet, width 16", (96, 160))
    assert (two.run, two.model, two.image_size) == (second, "smp:Unet/resnet34", None)
    assert one.fold_scores == pytest.approx({0: 0.8, 1: 0.5})
    assert two.fold_scores == pytest.approx({0: 0.875, 1: 0.4})
    assert one.score.score == pytest.approx(0.7)
    assert one.further == pytest.approx({"dice": 0.35, "iou": 0.175})
    assert two.score.score == pytest.approx((0.95 + 0.8 + 0.4) / 3)
    assert one.to_first.mean == 0
    assert two.to_first.mean == pytest.approx((0.05 + 0.1 - 0.1) / 3)


def test_the_gain_is_that_over_the_first_run(tmp_path: Path) -> None:
    runs = [write_run(tmp_path / name, {0: {"a_01": score}}) for name, score in (("a", 0.5), ("b", 0.7), ("c", 0.4))]
    assert [compared.to_first.mean for compared in compare(runs)] == pytest.approx([0, 0.2, -0.1])
    assert [compared.to_first.mean for compared in compare(runs[::-1])] == pytest.approx([0, 0.3, 0.1])


def test_only_the_folds_that_all_have_finished_count(tmp_path: Path) -> None:
    first = write_run(tmp_path / "first", {0: {"a_01": 0.9}, 1: {"b_01": 0.5}, 2: {"c_01": 0.1}})
    second = write_run(tmp_path / "second", {1: {"b_01": 0.4}, 2: {"c_01": 0.2}})
    one, two = compare([first, second])
    assert one.fold_scores.keys() == two.fold_scores.keys() == {1, 2}
    assert (one.score.score, two.score.score) == pytest.approx((0.3, 0.3))


def test_a_single_run_stands_by_itself(tmp_path: Path) -> None:
    (alone,) = compare([write_run(tmp_path / "run", {3: {"a_01": 0.9}})])
    assert (alone.fold_scores, alone.score, alone.to_first.mean) == ({3: 0.9}, (0.9, None), 0)


def test_runs_without_a_common_fold_are_not_compared(tmp_path: Path) -> None:
    first, second = (write_run(tmp_path / str(fold), {fold: {"a_01": 0.9}}) for fold in (0, 1))
    with pytest.raises(InputError) as refusal:
        compare([first, second])
    assert str(refusal.value) == f"no fold is finished in all of {first}, {second}"


def test_runs_that_hold_out_other_photos_are_not_compared(tmp_path: Path) -> None:
    first = write_run(tmp_path / "first", {0: {"a_01": 0.9, "a_02": 0.9}})
    second = write_run(tmp_path / "second", {0: {"a_01": 0.9, "b_02": 0.9}})
    with pytest.raises(InputError) as refusal:
        compare([first, second])
    assert str(refusal.value) == (
        f"{second} and {first} hold out different photos, so their scores cannot be compared: "
        "a_02 (fold 0), b_02 (fold 0)"
    )


def test_the_same_photos_in_other_folds_are_other_models_photos(tmp_path: Path) -> None:
    first = write_run(tmp_path / "first", {0: {"a_01": 0.9}, 1: {"b_01": 0.9}})
    second = write_run(tmp_path / "second", {0: {"b_01": 0.9}, 1: {"a_01": 0.9}})
    with pytest.raises(InputError, match="hold out different photos"):
        compare([first, second])


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", {0: {"a_01": 0.9}})
    (run / "config.json").unlink()
    with pytest.raises(InputError, match=r"config\.json: missing; is .* a folder that train\.py --out made\?"):
        compare([run])

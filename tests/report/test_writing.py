import json
import re
from pathlib import Path

import pytest
from finished_runs import PHOTOS_OF_TWO_RUNS, draw_photos, write_pred, write_two_runs
from known_competitions import CARVANA
from unfinished_runs import NOON, progress, write_unfinished_run

from kaggle_tools.errors import InputError
from kaggle_tools.report.parts import photos
from kaggle_tools.report.writing import write_progress, write_report


@pytest.fixture
def runs(tmp_path: Path) -> list[Path]:
    return write_two_runs(tmp_path)


def test_a_page_lies_with_what_it_shows(runs: list[Path], tmp_path: Path) -> None:
    pred = write_pred(tmp_path / "pred", tmp_path / "data" / "train", dict.fromkeys(PHOTOS_OF_TWO_RUNS, 20))
    assert write_report(None, CARVANA, runs[:1]) == runs[0] / "report.html"
    assert write_report(None, CARVANA, runs) == runs[0] / "comparison.html"
    assert write_report(None, CARVANA, runs[:1], pred) == pred / "report.html"
    assert write_report(tmp_path / "new" / "page.html", CARVANA, runs) == tmp_path / "new" / "page.html"


def test_the_page_of_runs_whose_paths_are_not_utf8_has_them_written_out(runs: list[Path]) -> None:
    odd = [run.rename(run.with_name(f"{run.name}\udcff")) for run in runs]
    for given in (odd[:1], odd):
        assert rf"{given[0].name[:-1]}\udcff" in write_report(None, CARVANA, given).read_text(encoding="utf-8")


def test_the_page_of_a_run_that_has_lost_its_learning_curves_has_no_section_for_them(runs: list[Path]) -> None:
    for path in runs[0].glob("fold*/metrics.csv"):
        path.unlink()
    page = write_report(None, CARVANA, runs[:1]).read_text()
    assert "learning" not in re.findall(r'(?:<section id|href)="#?([a-z]+)"', page)


def test_a_page_without_room_for_all_photos_says_how_many_it_lacks_and_where_they_are(
    runs: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    said = "worst of 12 photos; all of them are in the run&#39;s <code>oof.csv</code>"
    assert said not in write_report(None, CARVANA, runs[:1]).read_text()
    monkeypatch.setattr(photos, "MOST_ROWS", 11)
    assert f"The 11 {said}" in write_report(None, CARVANA, runs[:1]).read_text()


def test_the_best_of_several_is_shown_in_depth_and_a_single_one_whatever_it_is(runs: list[Path]) -> None:
    of_both, of_worse = write_report(None, CARVANA, runs), write_report(None, CARVANA, runs[:1])
    worst_of_better = f"Dice {2 * 29 / (29 + 30 + 1):.5f}, fold 1"
    assert worst_of_better in of_both.read_text()
    assert worst_of_better not in of_worse.read_text()


def test_the_page_of_six_cars_shows_the_three_worst_and_says_that_unusual_areas_need_ten(
    runs: list[Path], tmp_path: Path
) -> None:
    pred = write_pred(tmp_path / "pred", tmp_path / "data" / "train", dict.fromkeys(PHOTOS_OF_TWO_RUNS, 20))
    page = write_report(None, CARVANA, runs[:1], pred).read_text()
    assert "<h2>The 3 worst cars</h2>" in page
    assert "this needs at least 3 photos each of 10 cars, named as in the competition" in page


def test_a_page_leads_to_the_sections_that_it_has_and_to_no_others(runs: list[Path], tmp_path: Path) -> None:
    pred = write_pred(tmp_path / "pred", tmp_path / "data" / "train", dict.fromkeys(PHOTOS_OF_TWO_RUNS, 20))
    of_run = ["trust", "photos", "scores", "all", "probabilities", "learning", "made"]
    of_masks = ["predictions", "doubt", "unusual", "sheet"]
    for given, masks, sections in (
        (runs[:1], None, of_run),
        (runs, None, ["comparison", *of_run]),
        ([], pred, of_masks),
        (runs[:1], pred, [*of_run, *of_masks]),
    ):
        page = write_report(tmp_path / "page.html", CARVANA, given, masks).read_text()
        links = re.search("<nav.*?</nav>", page, re.DOTALL)
        assert links
        assert re.findall('href="#([a-z]+)"', links[0]) == sections


def test_the_page_of_one_run_begins_with_it_and_that_of_several_with_the_best(tmp_path: Path) -> None:
    runs = [run.rename(tmp_path / run.parent.name) for run in write_two_runs(tmp_path / "made")]
    of_one, of_both = (write_report(tmp_path / "page.html", CARVANA, given).read_text() for given in (runs[:1], runs))
    cards = [re.findall("<h2>(.*?)</h2>", page.partition("<nav")[0]) for page in (of_one, of_both)]
    assert cards[0][:2] == ["Dice of <bdi>worse</bdi>", "<bdi>worse</bdi> against the best"]
    assert cards[1][:2] == ["The best model", "Dice of <bdi>better</bdi>"]
    sections = [re.findall('<section id="([a-z]+)"', page) for page in (of_one, of_both)]
    assert (sections[0][0], sections[0][-1], sections[1][0]) == ("trust", "comparison", "comparison")


def test_of_a_run_without_a_finished_fold_a_page_says_how_far_it_is(tmp_path: Path) -> None:
    run = write_unfinished_run(tmp_path / "run", {0: progress(3, 10, stems=("a_01",)), 1: progress(0, 10)})
    for given in (None, tmp_path / "page.html"):
        page = write_report(given, CARVANA, [run])
        assert page == (given or run / "report.html")
        assert re.findall('href="#([a-z]+)"', page.read_text()) == ["folds", "photos", "learning"]
        assert "Unfinished: unet, width 8" in page.read_text()
        assert "Not being trained" in page.read_text()


def test_a_run_whose_training_has_not_begun_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no finished fold in it"):
        write_report(None, CARVANA, [write_unfinished_run(tmp_path / "run", {})])


def test_only_a_page_of_a_run_that_is_being_trained_loads_itself_anew(tmp_path: Path) -> None:
    run = write_unfinished_run(tmp_path / "run", {0: progress(3, 10)})
    assert 'id="reload"' not in write_progress(run, CARVANA).read_text()
    assert 'id="reload"' in write_progress(run, CARVANA, since=NOON).read_text()


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("fold0/oof.csv", "image,fold,score,dice,iou\n", "oof.csv: damaged (no rows in it)"),
        ("fold0/oof.csv", "image,fold,score,dice,iou\na_01,0,,1,1\n", "oof.csv: damaged (values of score are missing)"),
        (
            "fold0/oof.csv",
            "image,fold,score,dice,iou\na_01,0,7,1,1\n",
            "oof.csv: damaged (values of score that are not from 0 to 1)",
        ),
        ("fold0/oof.csv", "image,fold,score,dice,iou\na_01,0,abc,1,1\n", "oof.csv: not a table of image,fold,score"),
        ("fold0/oof.csv", "image,fold,score,dice,iou\na,0,1,1,1\n", "'a' is not of the form {group}_{view}"),
        ("fold1/metrics.csv", "epoch\n0\n", "metrics.csv: not a table of epoch,lr,"),
        ("config.json", '{"settings": {"model": "unet"}}', "config.json: damaged (settings: no competition in it)"),
    ],
)
def test_a_damaged_file_of_a_run_is_named(runs: list[Path], name: str, text: str, message: str) -> None:
    (runs[0] / name).write_text(text)
    with pytest.raises(InputError) as refusal:
        write_report(None, CARVANA, runs[:1])
    assert message in str(refusal.value)
    assert not (runs[0] / "report.html").exists()


def test_control_characters_of_a_record_are_written_out_on_a_page(runs: list[Path]) -> None:
    """A direction override shows another command than is copied; Ctrl-C in a pasted line ends it."""
    path = runs[0] / "config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps(config | {"data": "/d\u202e\x1b[31m\x03", "machine": "\u202e"}))
    html = write_report(None, CARVANA, runs[:1]).read_text(encoding="utf-8")
    assert not {"\u202e", "\x1b", "\x03"} & set(html)
    assert r"/d\u202e\x1b[31m\x03" in html


def test_photos_that_have_moved_are_counted_in_the_terminal_and_found_where_they_are_now(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, pred = tmp_path / "data", tmp_path / "pred"
    draw_photos(data, ["a_01", "b_01"])
    write_pred(pred, data / "train", {"a_01": 20, "b_01": 30})
    (data / "train").rename(data / "test")
    write_report(None, CARVANA, [], pred)
    said = capsys.readouterr().err
    assert said.startswith("warning: 2 photos cannot be shown on the page, such as ")
    assert said.endswith("if the photos have moved, name their folder by `report --data DIR`\n")
    write_report(None, CARVANA, [], pred, data)
    assert capsys.readouterr().err == ""

import errno
import json
import multiprocessing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kaggle_tools.kaggle_api import ledger
from kaggle_tools.kaggle_api.ledger import Entry
from kaggle_tools.kaggle_api.submissions import Submission
from kaggle_tools.results.scores import Estimate, ExpectedScore, ValidatedRun

FIRST = Entry(
    id="cafe",
    slug="tiles",
    message="5 folds",
    sha256="0" * 64,
    pred="/preds/a",
    runs=("unet",),
    cross_validation=(ValidatedRun("unet", (0, 1), "Dice", Estimate(0.91, (0.9, 0.92))),),
    expected=ExpectedScore(Estimate(0.92, None)),
    threshold=0.5,
    tta="hflip",
    tta_scales=(1.0, 1.25),
    commit="1234567",
)
PENDING = Submission("tiles", 17, "[cafe] 5 folds")
SCORED = replace(PENDING, status="COMPLETE", public_score=0.9)

OLD = """
{"event": "intended", "id": "cafe", "time": "2026-10-01T12:00:00+00:00", "slug": "tiles", "message": "5 folds", \
"sha256": "", "pred": "/preds/a", "runs": ["unet"], "cross_validation": [{"run": "unet", "folds": [0, 1], \
"score_name": "Dice", "score_mean": 0.91, "score_interval": [0.9, 0.92]}], "estimate": {"score": 0.92, \
"interval": null}, "threshold": 0.5, "tta": "hflip", "tta_scales": [1.0, 1.25], "commit": "1234567"}
{"event": "submitted", "id": "cafe", "time": "2026-10-01T12:01:00+00:00", "ref": 17}
{"event": "scored", "id": "cafe", "time": "2026-10-01T12:02:00+00:00", "status": "COMPLETE", "public_score": 0.9, \
"private_score": null, "error": ""}
{"event": "intended", "id": "beef", "time": "2026-10-02T12:00:00+00:00", "slug": "tiles", "message": "mix", "sha256": \
"", "pred": "/preds/b", "runs": ["a", "b"], "cross_validation": [{"run": "a"}, {"run": "b", "score_mean": 0.5}], \
"estimate": {"unavailable": "of another competition"}, "threshold": null, "tta": null, "commit": null}
{"event": "intended", "id": "fade", "time": "2026-10-03T12:00:00+00:00", "slug": "tiles", "message": "first version"}
"""
"""Lines as earlier versions wrote them, also such that lack what was not recorded then."""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "new" / "submissions.jsonl"


def test_without_a_ledger_there_are_no_submissions(path: Path) -> None:
    assert ledger.read(path) == []
    assert not path.parent.exists()


def test_the_events_of_a_submission_are_one_entry(path: Path) -> None:
    ledger.intend(path, FIRST)
    noted = replace(FIRST, time=json.loads(path.read_text())["time"])
    assert ledger.read(path) == [noted]
    assert ledger.note(path, noted, PENDING) == replace(noted, submission=PENDING)
    assert ledger.read(path) == [replace(noted, submission=PENDING)]
    assert ledger.note(path, replace(noted, submission=PENDING), SCORED) == replace(noted, submission=SCORED)
    assert ledger.read(path) == [replace(noted, submission=SCORED)]
    assert [json.loads(line)["event"] for line in path.read_text().splitlines()] == ["intended", "submitted", "scored"]


def test_a_verdict_that_the_ledger_knows_is_not_noted_again(path: Path) -> None:
    ledger.intend(path, FIRST)
    scored = ledger.note(path, FIRST, SCORED)
    listed = replace(SCORED, description="as Kaggle shows it", date="2026-10-01")
    assert ledger.note(path, scored, listed).submission == listed
    assert len(path.read_text().splitlines()) == 3
    ledger.note(path, scored, replace(listed, private_score=0.8))
    assert [entry.private_score for entry in ledger.read(path)] == [0.8]


def test_the_lines_have_the_form_that_earlier_versions_wrote(path: Path) -> None:
    first = replace(FIRST, sha256="")
    ledger.intend(path, first)
    ledger.note(path, first, SCORED)
    for line, old in zip(path.read_text().splitlines(), OLD.splitlines()[1:4], strict=True):
        assert json.dumps(json.loads(line) | {"time": json.loads(old)["time"]}) == old


def test_lines_of_earlier_versions_are_read(path: Path) -> None:
    path.parent.mkdir()
    path.write_text(OLD)
    whole, mix, first = ledger.read(path)
    assert whole == replace(FIRST, sha256="", time="2026-10-01T12:00:00+00:00", submission=SCORED)
    assert (mix.runs, mix.tta_scales, mix.expected.unavailable) == (("a", "b"), (), "of another competition")
    assert mix.cross_validation == (ValidatedRun("b", (), "", Estimate(0.5, None)),)
    assert (first.message, first.pred, first.submission) == ("first version", "", None)


def test_the_best_public_score_is_that_of_the_competition(path: Path) -> None:
    assert ledger.best_public_score(path, "tiles") is None
    for name, slug, score in (("a", "tiles", 0.95), ("b", "tiles", 0.97), ("c", "other", 0.99), ("d", "tiles", None)):
        entry = Entry(name, slug, "")
        ledger.intend(path, entry)
        ledger.note(path, entry, Submission(slug, 1, "", "COMPLETE", public_score=score))
    assert ledger.best_public_score(path, "tiles") == 0.97
    assert [entry.id for entry in ledger.read(path, "tiles")] == ["a", "b", "d"]


def test_another_try_keeps_the_time_and_the_number_of_the_first(path: Path) -> None:
    ledger.append(path, "intended", "cafe", {"slug": "tiles", "message": "old"})
    path.write_text(path.read_text().replace('"time": "2', '"time": "1'))
    ledger.append(path, "submitted", "cafe", {"ref": 17})
    ledger.intend(path, FIRST)
    (entry,) = ledger.read(path)
    assert entry.submission
    assert (entry.message, entry.submission.ref, entry.time[0]) == ("5 folds", 17, "1")


@pytest.mark.parametrize("cut", [1, 2, 40])
def test_a_last_line_that_breaks_off_is_left_out_and_what_follows_is_not(path: Path, cut: int) -> None:
    def numbers() -> list[int | None]:
        return [entry.submission.ref if entry.submission else None for entry in ledger.read(path)]

    ledger.intend(path, FIRST)
    ledger.append(path, "submitted", "cafe", {"ref": 17})
    path.write_bytes(path.read_bytes()[:-cut])
    assert numbers() == [17 if cut == 1 else None]
    ledger.append(path, "submitted", "cafe", {"ref": 18})
    assert numbers() == [18]


def test_submissions_are_read_in_the_order_in_which_they_were_first_tried(path: Path) -> None:
    for name in ("b", "a", "b"):
        ledger.append(path, "intended", name, {"slug": "tiles", "message": name})
    assert [entry.id for entry in ledger.read(path)] == ["b", "a"]


def append_many(path: Path, name: str) -> None:
    for ref in range(30):
        ledger.append(path, "submitted", name, {"ref": ref, "filling": name * 5000})


def test_processes_that_write_to_the_ledger_at_once_lose_nothing(path: Path) -> None:
    writers = [multiprocessing.get_context("spawn").Process(target=append_many, args=(path, name)) for name in "abc"]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    events = [json.loads(line) for line in path.read_text().splitlines()]
    assert sorted((event["id"], event["ref"]) for event in events) == [
        (name, ref) for name in "abc" for ref in range(30)
    ]


def test_the_ledger_lies_in_the_users_data_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "share"))
    assert ledger.default_path().name == "submissions.jsonl"
    assert ledger.default_path().is_relative_to(tmp_path)


@pytest.mark.parametrize("line", ['{"event": "intended", "id": 7, "time": "now"}', "[]", "7", '{"id": "a"}'])
def test_a_line_that_is_no_event_is_left_out(path: Path, line: str) -> None:
    ledger.append(path, "intended", "cafe", {"slug": "tiles", "message": "tiles"})
    with path.open("a") as file:
        file.write(line + "\n")
    assert [entry.id for entry in ledger.read(path)] == ["cafe"]


def write_events(path: Path, *events: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps({"time": "2026-11-27T08:00:00+00:00", **event}) + "\n" for event in events))


INTENDED = {"event": "intended", "id": "aa", "slug": "cars", "message": "m", "pred": "/p"}


def test_a_score_is_kept_where_the_line_with_kaggles_number_is_lost(ledger_path: Path) -> None:
    scored = {"event": "scored", "id": "aa", "status": "COMPLETE", "public_score": 0.93, "private_score": None}
    write_events(ledger_path, INTENDED, scored | {"error": ""})
    (entry,) = ledger.read(ledger_path)
    assert (entry.public_score, entry.made) == (0.93, None)
    assert ledger.best_public_score(ledger_path, "cars") == 0.93


@pytest.mark.parametrize(
    "odd",
    [
        {"estimate": [1]},
        {"estimate": {"score": None}},
        {"estimate": {"unavailable": None}},
        {"estimate": {"score": 0.9, "interval": [0.8]}},
        {"cross_validation": [{"run": 5, "score_mean": "x"}]},
        {"cross_validation": {"run": "a"}},
    ],
    ids=str,
)
def test_scores_of_an_unknown_form_in_the_ledger_are_left_out(ledger_path: Path, odd: dict[str, Any]) -> None:
    write_events(ledger_path, INTENDED | odd)
    (entry,) = ledger.read(ledger_path)
    assert (entry.expected.estimate, entry.cross_validation) == (None, ())


def test_a_validated_run_in_the_ledger_without_folds_keeps_its_score(ledger_path: Path) -> None:
    write_events(ledger_path, INTENDED | {"cross_validation": [{"run": "a", "score_mean": 0.9, "folds": None}]})
    (entry,) = ledger.read(ledger_path)
    assert [(run.run, run.score.score, run.folds) for run in entry.cross_validation] == [("a", 0.9, ())]


SCORE = {"event": "scored", "id": "aa", "status": "COMPLETE", "public_score": 0.93, "private_score": None, "error": ""}


def test_lines_that_were_glued_together_are_read_one_by_one(path: Path) -> None:
    first = replace(FIRST, message='no start of a line: {"event": "x"')
    ledger.intend(path, first)
    ledger.note(path, first, SCORED)
    path.write_text(path.read_text().replace("\n", ""))
    (entry,) = ledger.read(path)
    assert (entry.made and entry.made.ref, entry.public_score, entry.message) == (17, 0.9, first.message)
    assert ledger.left_out(path) == []


def test_of_glued_lines_the_one_that_is_cut_off_is_left_out_and_named(path: Path) -> None:
    ledger.intend(path, FIRST)
    ledger.note(path, FIRST, SCORED)
    first, submitted, scored = path.read_text().splitlines()
    path.write_text(f"{first}\n{submitted[:40]}{scored}\n")
    (entry,) = ledger.read(path)
    assert (entry.made, entry.public_score) == (None, 0.9)
    assert ledger.left_out(path) == [
        f"{path}: 1 damaged line is left out: line 2 (not JSON: it was cut off or changed)"
    ]


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (b"\0" * 20, "not JSON: it was cut off or changed"),
        (b'{"event": "submitted", "id": "\xff", "time": "t"}', "not JSON: it was cut off or changed"),
        (b"[" * 60_000, "not JSON: it was cut off or changed"),
        (b"7", "not an event"),
        (b'{"event": "submitted", "id": "aa"}', "no usable time"),
        (b'{"event": "submitted", "id": 7, "time": "t"}', "no usable id"),
        (b'{"event": "submitted", "id": "aa", "time": "t", "ref": "17"}', "no usable ref"),
        (b'{"event": "submitted", "id": "aa", "time": "t", "ref": true}', "no usable ref"),
        (b'{"event": "scored", "id": "aa", "time": "t", "public_score": "0.9"}', "no usable public_score"),
        (b'{"event": "scored", "id": "aa", "time": "t", "public_score": NaN}', "no usable public_score"),
        (b'{"event": "scored", "id": "aa", "time": "t", "status": 1, "error": null}', "no usable error and status"),
        (b'{"event": "intended", "id": "bb", "time": "t", "slug": 5, "message": ""}', "no usable slug"),
        (b'{"event": "intended", "id": "bb", "time": "t", "runs": "unet"}', "no usable runs"),
        (b'{"event": "intended", "id": "bb", "time": "t", "runs": [5]}', "no usable runs"),
        (b'{"event": "intended", "id": "bb", "time": "t", "tta_scales": ["1"]}', "no usable tta_scales"),
        (b'{"event": "intended", "id": "bb", "time": "t", "threshold": "0.5"}', "no usable threshold"),
        (b'{"event": "intended", "id": "bb", "time": "t", "threshold": 1%s}' % (b"0" * 400), "no usable threshold"),
        (b'{"event": "intended", "id": "bb", "time": "t", "tta_scales": [1%s]}' % (b"0" * 400), "no usable tta_scales"),
        (b'{"event": "scored", "id": "aa", "time": "t", "public_score": -1e13}', "no usable public_score"),
    ],
    ids=lambda value: str(value)[:60],
)
def test_a_line_that_cannot_be_read_is_left_out_and_it_is_said_why(ledger_path: Path, line: bytes, why: str) -> None:
    write_events(ledger_path, INTENDED)
    with ledger_path.open("ab") as file:
        file.write(line + b"\n")
    assert [(entry.id, entry.submission) for entry in ledger.read(ledger_path)] == [("aa", None)]
    assert ledger.left_out(ledger_path) == [f"{ledger_path}: 1 damaged line is left out: line 2 ({why})"]


def test_what_is_left_out_is_found_by_parsing_each_line_once(
    ledger_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_events(ledger_path, INTENDED, SCORE, {"event": "submitted", "id": "bb", "ref": 17})
    parsed, numbers = ledger._parsed, []

    def noted(number: int, line: bytes) -> object:
        numbers.append(number)
        return parsed(number, line)

    monkeypatch.setattr(ledger, "_parsed", noted)
    (said,) = ledger.left_out(ledger_path)
    assert said.endswith("as the line is lost that says what they are: bb")
    assert numbers == [1, 2, 3]


def test_a_submission_whose_first_line_is_lost_is_named(ledger_path: Path) -> None:
    write_events(ledger_path, {"event": "submitted", "id": "aa", "ref": 17}, SCORE)
    assert ledger.read(ledger_path) == []
    assert ledger.left_out(ledger_path) == [
        f"{ledger_path}: 1 submission is left out, as the line is lost that says what they are: aa"
    ]


def test_a_ledger_that_an_editor_saved_is_read(ledger_path: Path) -> None:
    write_events(ledger_path, INTENDED, SCORE)
    ledger_path.write_text("\ufeff" + ledger_path.read_text().replace("\n", "\r\n\r\n"), newline="")
    assert [entry.public_score for entry in ledger.read(ledger_path)] == [0.93]
    assert ledger.left_out(ledger_path) == []


def test_a_line_for_which_there_is_no_room_is_not_half_written(
    ledger_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    write_events(ledger_path, INTENDED)
    before = ledger_path.read_bytes()
    with monkeypatch.context() as patched:
        patched.setattr(ledger.os, "fsync", fail)
        with pytest.raises(OSError, match="No space left"):
            ledger.append(ledger_path, "submitted", "aa", {"ref": 17})
    assert ledger_path.read_bytes() == before


def test_a_score_that_cannot_be_read_does_not_replace_the_one_that_is_noted(path: Path) -> None:
    ledger.intend(path, FIRST)
    scored = ledger.note(path, FIRST, SCORED)
    odd = replace(SCORED, public_score=None, odd="publicScore 'None'")
    assert ledger.note(path, scored, odd).submission == odd
    assert [entry.public_score for entry in ledger.read(path)] == [0.9]

import json
import multiprocessing
from pathlib import Path

import pytest

from kaggle_tools.kaggle_api import ledger
from kaggle_tools.kaggle_api.ledger import Entry

FIRST = Entry(
    "cafe", "tiles", "5 folds", "0" * 64, "/preds/a", ["unet"], [{"run": "unet"}], {"score": 0.9}, 0.5, "hflip"
)
SCORED = {"status": "COMPLETE", "public_score": 0.9, "private_score": None, "error": ""}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "new" / "submissions.jsonl"


def test_without_a_file_there_are_no_submissions(path: Path) -> None:
    assert ledger.read(path) == []
    assert not path.parent.exists()


def test_the_events_of_a_submission_are_one_row(path: Path) -> None:
    ledger.intend(path, FIRST)
    time = json.loads(path.read_text())["time"]
    assert ledger.read(path) == [Entry(**vars(FIRST) | {"time": time})]
    ledger.append(path, "submitted", "cafe", {"ref": 17})
    ledger.append(path, "scored", "cafe", SCORED)
    assert ledger.read(path) == [Entry(**vars(FIRST) | {"time": time, "ref": 17} | SCORED)]
    assert [json.loads(line)["event"] for line in path.read_text().splitlines()] == ["intended", "submitted", "scored"]


def test_another_try_keeps_the_row_its_time_and_its_number(path: Path) -> None:
    ledger.append(path, "intended", "cafe", {"slug": "tiles", "message": "old"})
    path.write_text(path.read_text().replace('"time": "2', '"time": "1'))
    ledger.append(path, "submitted", "cafe", {"ref": 17})
    ledger.intend(path, FIRST)
    (entry,) = ledger.read(path)
    assert (entry.message, entry.ref, entry.time[0]) == ("5 folds", 17, "1")


@pytest.mark.parametrize("cut", [1, 2, 40])
def test_a_last_line_that_breaks_off_is_left_out_and_what_follows_is_not(path: Path, cut: int) -> None:
    ledger.intend(path, FIRST)
    ledger.append(path, "submitted", "cafe", {"ref": 17})
    path.write_bytes(path.read_bytes()[:-cut])
    assert [entry.ref for entry in ledger.read(path)] == [17 if cut == 1 else None]
    ledger.append(path, "submitted", "cafe", {"ref": 18})
    assert [entry.ref for entry in ledger.read(path)] == [18]


def test_rows_come_in_the_order_in_which_they_were_first_tried(path: Path) -> None:
    for name in ("b", "a", "b"):
        ledger.append(path, "intended", name, {"slug": "tiles", "message": name})
    assert [entry.id for entry in ledger.read(path)] == ["b", "a"]


def append_many(path: Path, name: str) -> None:
    for ref in range(30):
        ledger.append(path, "submitted", name, {"ref": ref, "filling": name * 5000})


def test_processes_that_write_at_once_lose_nothing(path: Path) -> None:
    writers = [multiprocessing.get_context("spawn").Process(target=append_many, args=(path, name)) for name in "abc"]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    events = [json.loads(line) for line in path.read_text().splitlines()]
    assert sorted((event["id"], event["ref"]) for event in events) == [
        (name, ref) for name in "abc" for ref in range(30)
    ]


def test_it_lies_in_the_users_data_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "share"))
    assert ledger.default_path().name == "submissions.jsonl"
    assert ledger.default_path().is_relative_to(tmp_path)


@pytest.mark.parametrize("line", ['{"event": "intended", "id": 7, "time": "now"}', "[]", "7", '{"id": "a"}'])
def test_what_is_no_event_is_left_out(path: Path, line: str) -> None:
    ledger.append(path, "intended", "cafe", {"slug": "tiles", "message": "tiles"})
    with path.open("a") as file:
        file.write(line + "\n")
    assert [entry.id for entry in ledger.read(path)] == ["cafe"]

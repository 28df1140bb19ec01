import hashlib
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from kaggle_tools.errors import InputError
from kaggle_tools.system.files import (
    is_locked,
    locked,
    read_json,
    replacing,
    sha256,
    write_json,
    write_text,
)


@contextmanager
def another_process(code: str, folder: Path) -> Iterator["subprocess.Popen[str]"]:
    """Runs the code, which is to print a line when it is ready and then to wait; it is killed at the end."""
    command = [sys.executable, "-c", f"import sys\nfrom pathlib import Path\nfolder = Path(sys.argv[1])\n{code}"]
    with subprocess.Popen([*command, folder], stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            assert process.stdout.readline() == "ready\n"
            yield process
        finally:
            process.kill()


HOLD = """
from kaggle_tools.system.files import locked
with locked(folder, "works"):
    print("ready", flush=True)
    sys.stdin.read()
"""
WRITE_HALF = """
from kaggle_tools.system.files import replacing
with replacing(folder / "table.csv") as temporary:
    temporary.write_text("half of the ne")
    print("ready", flush=True)
    sys.stdin.read()
"""


class TestReplacing:
    def test_a_file_that_is_replaced_has_its_old_content_until_the_new_one_is_whole(self, tmp_path: Path) -> None:
        path = tmp_path / "table.csv"
        path.write_text("old")
        with replacing(path) as temporary:
            temporary.write_text("new")
            assert path.read_text() == "old"
        assert path.read_text() == "new"
        assert [entry.name for entry in tmp_path.iterdir()] == ["table.csv"]

    def test_the_folder_of_a_new_file_is_made(self, tmp_path: Path) -> None:
        with replacing(tmp_path / "fold0" / "oof" / "table.csv") as temporary:
            temporary.write_text("new")
        assert (tmp_path / "fold0" / "oof" / "table.csv").read_text() == "new"

    def test_a_file_whose_writing_fails_stays_as_it_was(self, tmp_path: Path) -> None:
        path = tmp_path / "table.csv"
        path.write_text("old")
        with pytest.raises(UnicodeEncodeError), replacing(path) as temporary:
            temporary.write_text("half of the ne\udc00", encoding="utf-8")
        assert path.read_text() == "old"
        assert [entry.name for entry in tmp_path.iterdir()] == ["table.csv"]

    def test_what_a_killed_process_wrote_of_a_file_is_overwritten_by_the_next(self, tmp_path: Path) -> None:
        path = tmp_path / "table.csv"
        path.write_text("old")
        with another_process(WRITE_HALF, tmp_path) as process:
            process.kill()
            assert process.wait() == -signal.SIGKILL
        assert path.read_text() == "old"
        assert len(list(tmp_path.iterdir())) == 2
        write_text(path, "new")
        assert path.read_text() == "new"
        assert [entry.name for entry in tmp_path.iterdir()] == ["table.csv"]


class TestLocked:
    def test_a_locked_folder_keeps_other_commands_out_until_the_lock_is_released(self, tmp_path: Path) -> None:
        message = rf"^{tmp_path / 'run'}: another command trains this fold; wait for it, or end it first$"
        with locked(tmp_path / "run", "trains this fold"):
            assert is_locked(tmp_path / "run")
            with pytest.raises(InputError, match=message), locked(tmp_path / "run", "trains this fold", timeout=0):
                pass
        assert not is_locked(tmp_path / "run")
        with locked(tmp_path / "run", "trains this fold", timeout=0):
            pass

    def test_an_error_releases_the_lock_of_a_folder(self, tmp_path: Path) -> None:
        with pytest.raises(ZeroDivisionError), locked(tmp_path, "works"):
            raise ZeroDivisionError
        assert not is_locked(tmp_path)

    def test_the_lock_of_a_folder_holds_across_processes_and_ends_with_a_killed_one(self, tmp_path: Path) -> None:
        with another_process(HOLD, tmp_path) as process:
            assert is_locked(tmp_path)
            with pytest.raises(InputError, match="another command works"), locked(tmp_path, "works", timeout=0):
                pass
            process.kill()
            process.wait()
            with locked(tmp_path, "works"):
                pass

    def test_locks_of_different_names_in_a_folder_do_not_exclude_each_other(self, tmp_path: Path) -> None:
        with locked(tmp_path, "writes", name=".summary.lock"), locked(tmp_path, "trains", timeout=0):
            assert is_locked(tmp_path)
        with locked(tmp_path, "writes", name=".summary.lock"):
            assert not is_locked(tmp_path)


class TestJson:
    def test_json_is_written_with_a_key_on_each_line_in_the_given_order(self, tmp_path: Path) -> None:
        write_json(tmp_path / "run.json", {"b": [1], "a": None})
        assert (tmp_path / "run.json").read_bytes() == b'{\n  "b": [\n    1\n  ],\n  "a": null\n}\n'
        assert list(read_json(tmp_path / "run.json", "").items()) == [("b", [1]), ("a", None)]

    def test_a_missing_json_file_is_refused_with_what_its_absence_may_mean(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match=rf"^{tmp_path / 'run.json'}: missing; is it a run\?$"):
            read_json(tmp_path / "run.json", "is it a run?")

    @pytest.mark.parametrize("content", [b"", b"{", b"\xff{}"])
    def test_a_json_file_that_cannot_be_parsed_is_refused_as_damaged(self, tmp_path: Path, content: bytes) -> None:
        (tmp_path / "run.json").write_bytes(content)
        with pytest.raises(InputError, match=rf"^{tmp_path / 'run.json'}: damaged \("):
            read_json(tmp_path / "run.json", "is it a run?")

    @pytest.mark.parametrize("content", ["[]", "null", "3", '"text"'])
    def test_json_that_is_no_object_is_refused_as_damaged(self, tmp_path: Path, content: str) -> None:
        (tmp_path / "run.json").write_text(content)
        with pytest.raises(InputError, match=r"run\.json: damaged \(not a JSON object\)$"):
            read_json(tmp_path / "run.json", "is it a run?")


def test_text_is_written_as_utf_8_with_unix_line_ends(tmp_path: Path) -> None:
    write_text(tmp_path / "page.html", "größer\nthan 3 µm\n")
    assert (tmp_path / "page.html").read_bytes() == b"gr\xc3\xb6\xc3\x9fer\nthan 3 \xc2\xb5m\n"


def test_the_sha256_of_a_file_is_that_of_all_its_bytes(tmp_path: Path) -> None:
    (tmp_path / "model").write_bytes(b"weights" * 100_000)
    assert sha256(tmp_path / "model") == hashlib.sha256(b"weights" * 100_000).hexdigest()
    (tmp_path / "abc").write_bytes(b"abc")
    assert sha256(tmp_path / "abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"

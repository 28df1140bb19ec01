import errno
import fcntl
import hashlib
import os
import re
import signal
import subprocess
import sys
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from faults import PAGE, mounted

from kaggle_tools.errors import InputError
from kaggle_tools.system import files
from kaggle_tools.system.files import (
    deny_links,
    is_locked,
    locked,
    naming,
    read_bytes,
    read_csv,
    read_json,
    remove_left_behind,
    replacing,
    sha256,
    temporary_folder,
    write_json,
    write_text,
)
from kaggle_tools.system.json_values import Fields, by_name, mapping, whole


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

    def test_what_a_killed_process_wrote_of_a_file_is_removed_by_the_next_that_holds_the_folder(
        self, tmp_path: Path
    ) -> None:
        path = tmp_path / "table.csv"
        path.write_text("old")
        with another_process(WRITE_HALF, tmp_path) as process:
            with locked(tmp_path, "works"):
                assert len(list(tmp_path.glob(".kaggle-tools-*"))) == 1, "a process that is at work keeps its file"
            process.kill()
            assert process.wait() == -signal.SIGKILL
        assert path.read_text() == "old"
        with locked(tmp_path, "works"):
            assert {entry.name for entry in tmp_path.iterdir()} == {"table.csv", ".lock"}

    def test_two_commands_that_write_the_same_file_do_not_mix(self, tmp_path: Path) -> None:
        path = tmp_path / "table.csv"
        with replacing(path) as first, replacing(path) as second:
            first.write_text("first")
            second.write_text("second")
        assert path.read_text() == "first", "the one that ends last replaces the file"
        assert [entry.name for entry in tmp_path.iterdir()] == ["table.csv"]

    def test_a_link_under_a_temporary_name_is_not_followed(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        victim = tmp_path / "victim"
        victim.write_text("mine")
        monkeypatch.setattr("secrets.token_hex", lambda _: "0" * 16)
        with replacing(tmp_path / "table.csv") as temporary:
            name = temporary.name
        (tmp_path / name).symlink_to(victim)
        with pytest.raises(FileExistsError), replacing(tmp_path / "table.csv"):
            pass
        assert victim.read_text() == "mine"

    def test_a_file_that_a_library_wrote_for_its_owner_alone_gets_the_mode_of_new_files(self, tmp_path: Path) -> None:
        with replacing(tmp_path / "model") as temporary:
            temporary.unlink()
            temporary.touch(mode=0o600)
        (tmp_path / "other").touch()
        assert (tmp_path / "model").stat().st_mode == (tmp_path / "other").stat().st_mode

    def test_the_longest_name_that_the_file_system_takes_can_be_written(self, tmp_path: Path) -> None:
        write_text(tmp_path / ("x" * 255), "new")
        assert (tmp_path / ("x" * 255)).read_text() == "new"

    def test_a_fault_while_a_file_is_written_names_the_file(self, tmp_path: Path) -> None:
        """Few writers say to which file the disk had no room for; the temporary name would mean nothing to anybody."""
        with mounted(tmp_path / "disk") as disk:
            disk.resize(PAGE)
            path = disk.path / "table.csv"
            with pytest.raises(OSError, match=rf"^\[Errno 28\] No space left on device: '{path}'$"):
                write_text(path, "1,2\n" * PAGE)
            disk.make_read_only()
            with pytest.raises(OSError, match=rf"^\[Errno 30\] Read-only file system: '{path}'$"):
                write_text(path, "1,2\n")
            assert list(disk.path.iterdir()) == []

    def test_other_files_that_are_named_in_a_fault_stay_so(self, tmp_path: Path) -> None:
        missing = tmp_path / "source"
        with pytest.raises(OSError, match=f"directory: '{missing}'$"), replacing(tmp_path / "target") as temporary:
            temporary.write_bytes(missing.read_bytes())


class TestRemoveLeftBehind:
    NAME = ".kaggle-tools-{machine}-{process}-0123456789abcdef.part"

    def test_temporary_files_of_other_machines_stay_for_a_day(self, tmp_path: Path) -> None:
        new, old = (tmp_path / self.NAME.format(machine="elsewhere", process=process) for process in (1, 2))
        for path in (new, old):
            path.touch()
        day_ago = new.stat().st_mtime - 24 * 3600 - 1
        os.utime(old, (day_ago, day_ago))
        remove_left_behind(tmp_path)
        assert list(tmp_path.iterdir()) == [new]

    def test_other_files_and_the_targets_of_links_stay(self, tmp_path: Path) -> None:
        ended = self.NAME.format(machine=files.MACHINE, process=2**22 + 1)  # above what Linux gives to a process
        (tmp_path / "folder").mkdir()
        (tmp_path / "folder" / ended).symlink_to(tmp_path / "victim")
        for name in ("victim", "folder/.table.csv.part", "folder/.kaggle-tools-x.part"):
            (tmp_path / name).touch()
        remove_left_behind(tmp_path / "folder")
        assert {path.name for path in tmp_path.rglob("*")} == {
            "folder",
            "victim",
            ".table.csv.part",
            ".kaggle-tools-x.part",
        }


class TestTemporaryFolder:
    def test_a_fault_in_a_temporary_folder_names_the_folder_that_it_is_in(self, tmp_path: Path) -> None:
        with mounted(tmp_path / "disk") as disk:
            disk.resize(PAGE)
            full = pytest.raises(OSError, match=rf"No space left on device: '{disk.path}'$")
            with full, temporary_folder(disk.path) as temporary, (temporary / "photo").open("wb") as file:
                file.write(bytes(2 * PAGE))
            assert list(disk.path.iterdir()) == []

    def test_it_is_of_the_user_alone_and_goes_with_its_contents(self, tmp_path: Path) -> None:
        with temporary_folder(tmp_path) as temporary:
            assert temporary.parent == tmp_path
            assert temporary.stat().st_mode & 0o777 == 0o700
            (temporary / "deep").mkdir()
            (temporary / "deep" / "photo").touch()
        assert list(tmp_path.iterdir()) == []

    def test_one_that_lies_there_already_is_not_used(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(files, "_temporary_name", lambda: "known")
        (tmp_path / "victim").mkdir()
        (tmp_path / "known").symlink_to(tmp_path / "victim")
        with pytest.raises(FileExistsError), temporary_folder(tmp_path):
            pass
        assert (tmp_path / "victim").is_dir()

    def test_the_folder_of_a_process_that_has_ended_goes_first(self, tmp_path: Path) -> None:
        ended = tmp_path / TestRemoveLeftBehind.NAME.format(machine=files.MACHINE, process=2**22 + 1)
        (ended / "deep").mkdir(parents=True)
        with temporary_folder(tmp_path) as temporary:
            assert list(tmp_path.iterdir()) == [temporary]


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

    @pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOTSUP])
    def test_a_file_system_without_locks_is_named_once_and_used(
        self,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
        number: int,
    ) -> None:
        def refuse(*_: object) -> None:
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr(fcntl, "flock", refuse)
        for _ in range(2):
            with locked(tmp_path, "works"):
                assert not is_locked(tmp_path)
        expected = f"warning: {tmp_path}: no locks on this file system; let no two commands write there at once\n"
        assert capsys.readouterr().err == expected

    def test_another_fault_of_a_lock_is_an_error(self, tmp_path: Path) -> None:
        (tmp_path / ".lock").mkdir()
        with pytest.raises(OSError, match="directory"), locked(tmp_path, "works"):
            pass


class TestJson:
    def test_json_is_written_with_a_key_on_each_line_in_the_given_order(self, tmp_path: Path) -> None:
        write_json(tmp_path / "run.json", {"b": [1], "a": None})
        assert (tmp_path / "run.json").read_bytes() == b'{\n  "b": [\n    1\n  ],\n  "a": null\n}\n'
        assert list(read_json(tmp_path / "run.json", "", mapping).items()) == [("b", [1]), ("a", None)]

    def test_a_missing_json_file_is_refused_with_what_its_absence_may_mean(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match=rf"^{tmp_path / 'run.json'}: missing; is it a run\?$"):
            read_json(tmp_path / "run.json", "is it a run?", mapping)

    @pytest.mark.parametrize("content", [b"", b"{", b"\xff{}"])
    def test_a_json_file_that_cannot_be_parsed_is_refused_as_damaged(self, tmp_path: Path, content: bytes) -> None:
        (tmp_path / "run.json").write_bytes(content)
        with pytest.raises(InputError, match=rf"^{tmp_path / 'run.json'}: damaged \("):
            read_json(tmp_path / "run.json", "is it a run?", mapping)

    @pytest.mark.parametrize("content", ["[]", "null", "3", '"text"'])
    def test_json_that_is_no_object_is_refused_as_damaged(self, tmp_path: Path, content: str) -> None:
        (tmp_path / "run.json").write_text(content)
        with pytest.raises(InputError, match=r"run\.json: damaged \(.* is not a JSON object\)$"):
            read_json(tmp_path / "run.json", "is it a run?", mapping)

    @pytest.mark.parametrize(
        ("content", "fault"),
        [
            ('{"a": 1, "a": 2}', "'a' stands there twice"),
            ('{"a": {"b": 1, "b": 1}}', "'b' stands there twice"),
            ("[" * 100_000, "nested too deeply"),
            ('{"a":' * 100_000, "nested too deeply"),
        ],
    )
    def test_json_that_can_be_read_in_two_ways_or_not_at_all_is_refused(
        self, tmp_path: Path, content: str, fault: str
    ) -> None:
        (tmp_path / "run.json").write_text(content)
        with pytest.raises(InputError, match=re.escape(f"{tmp_path / 'run.json'}: damaged ({fault})")):
            read_json(tmp_path / "run.json", "", mapping)

    def test_of_a_value_that_is_refused_the_file_and_the_place_are_named(self, tmp_path: Path) -> None:
        write_json(tmp_path / "run.json", {"sizes": {"2x3": "many"}})
        with pytest.raises(InputError, match=r"run\.json: damaged \(sizes\.2x3: 'many' is not a whole number\)$"):
            read_json(tmp_path / "run.json", "", lambda value: Fields(value).required("sizes", by_name(whole)))


class TestReadBytes:
    def test_a_file_is_read_up_to_its_bound(self, tmp_path: Path) -> None:
        (tmp_path / "table.csv").write_bytes(b"12345")
        assert read_bytes(tmp_path / "table.csv", 5) == b"12345"
        with pytest.raises(InputError, match=r"table\.csv: has 5 bytes; such a file has at most 4$"):
            read_bytes(tmp_path / "table.csv", 4)

    def test_an_endless_file_is_not_read(self) -> None:
        with pytest.raises(InputError, match=r"^/dev/zero: not a regular file$"):
            read_bytes(Path("/dev/zero"), 5)

    def test_a_pipe_that_nobody_writes_is_not_waited_for(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "run.json")
        with pytest.raises(InputError, match=r"run\.json: not a regular file$"):
            read_bytes(tmp_path / "run.json", 5)

    def test_a_missing_file_is_refused_with_what_its_absence_may_mean(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match=r"run\.json: missing$"):
            read_bytes(tmp_path / "run.json", 5)
        with pytest.raises(InputError, match=r"run\.json: missing; is it a run\?$"):
            read_bytes(tmp_path / "run.json", 5, "is it a run?")


def test_text_is_written_as_utf_8_with_unix_line_ends(tmp_path: Path) -> None:
    write_text(tmp_path / "page.html", "größer\nthan 3 µm\n")
    assert (tmp_path / "page.html").read_bytes() == b"gr\xc3\xb6\xc3\x9fer\nthan 3 \xc2\xb5m\n"


def test_the_sha256_of_a_file_is_that_of_all_its_bytes(tmp_path: Path) -> None:
    (tmp_path / "model").write_bytes(b"weights" * 100_000)
    assert sha256(tmp_path / "model") == hashlib.sha256(b"weights" * 100_000).hexdigest()
    (tmp_path / "abc").write_bytes(b"abc")
    assert sha256(tmp_path / "abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


class TestLinks:
    def test_a_link_that_leads_out_is_named_and_one_that_stays_inside_is_not(self, tmp_path: Path) -> None:
        inner = tmp_path / "run" / "fold0" / "oof"
        inner.mkdir(parents=True)
        (inner / "a.png").touch()
        (tmp_path / "run" / "inside.png").symlink_to(inner / "a.png")
        (tmp_path / "link").symlink_to(tmp_path / "run")
        deny_links(tmp_path / "run")
        deny_links(tmp_path / "link")
        (inner / "b.png").symlink_to("../../../secret.png")
        with pytest.raises(InputError) as refused:
            deny_links(tmp_path / "run")
        assert str(refused.value) == f"{inner / 'b.png'}: a link to ../../../secret.png; put what is meant in its place"

    def test_links_in_a_circle_are_refused(self, tmp_path: Path) -> None:
        (tmp_path / "a").symlink_to(tmp_path / "a")
        with pytest.raises(InputError, match=f"^{tmp_path / 'a'}: a link to "):
            deny_links(tmp_path)

    def test_the_logs_of_weights_and_biases_may_lie_elsewhere(self, tmp_path: Path) -> None:
        (tmp_path / "fold0" / "wandb").mkdir(parents=True)
        (tmp_path / "fold0" / "wandb" / "debug-core.log").symlink_to("/nowhere")
        deny_links(tmp_path)


def test_a_table_of_millions_of_odd_lines_is_refused_at_the_first_of_them(tmp_path: Path) -> None:
    """Before: a list of all rows, sixty times as large as the file."""
    (tmp_path / "t.csv").write_text("image,size\n" + "a\n" * 10**6)
    tracemalloc.start()
    with pytest.raises(InputError, match=r"t\.csv: damaged \(a line of 1 fields\); make it anew$"):
        read_csv(tmp_path / "t.csv", ("image", "size"), str, if_damaged="make it anew")
    assert tracemalloc.get_traced_memory()[1] < 30e6
    tracemalloc.stop()


def test_an_error_of_a_library_that_names_no_file_names_the_folder_that_it_writes_into(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=f"No space left on device: '{tmp_path}'"), naming(tmp_path):
        raise OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(OSError, match="No space left on device: 'a'"), naming(tmp_path):
        raise OSError(errno.ENOSPC, "No space left on device", "a")


def test_a_folder_in_the_place_of_a_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError, match=f"directory: '{tmp_path}'$"), replacing(tmp_path):
        pass

import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch

from kaggle_tools.errors import InputError
from kaggle_tools.models import saved_tensors
from kaggle_tools.models.saved_tensors import DamagedError

MOST = 10_000_000
ZIP, OLDER = True, False  # than PyTorch 1.6


class Touch:
    """Unpickled, it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


def saved(folder: Path, content: object, zipped: bool) -> Path:
    path = folder / "saved.pt"
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    return path


@pytest.mark.parametrize("zipped", [ZIP, OLDER])
class TestRead:
    def test_tensors_and_plain_values_are_read_as_they_were_saved(self, tmp_path: Path, zipped: bool) -> None:
        path = saved(tmp_path, {"w": torch.arange(6.0).view(2, 3), "more": [1, "a", None, (True, 0.5)]}, zipped)
        content: Any = saved_tensors.read(path, MOST)
        assert content["w"].tolist() == [[0, 1, 2], [3, 4, 5]]
        assert content["more"] == [1, "a", None, (True, 0.5)]

    def test_nothing_in_a_file_is_run(self, tmp_path: Path, zipped: bool) -> None:
        with pytest.raises(DamagedError, match="^UnpicklingError$"):
            saved_tensors.read(saved(tmp_path, {"w": Touch(tmp_path / "made")}, zipped), MOST)
        assert not (tmp_path / "made").exists()

    def test_memory_is_not_asked_for(self, tmp_path: Path, zipped: bool) -> None:
        """`bytearray(4 * 10**12)`: torch takes it for harmless."""
        path = saved(tmp_path, {"w": torch.ones(2)}, zipped)
        asks = b"cbuiltins\nbytearray\n" + pickle.dumps((4 * 10**12,), 2)[2:-1] + b"R"
        if zipped:
            in_a_pickle(path, asks)
        else:
            path.write_bytes(asks + path.read_bytes())
        with pytest.raises(DamagedError, match="^asks for memory$"):
            saved_tensors.read(path, MOST)

    def test_a_few_lists_that_are_billions_of_values_are_refused(self, tmp_path: Path, zipped: bool) -> None:
        laughs: list[Any] = [0.0] * 8
        for _ in range(11):
            laughs = [laughs] * 8
        with pytest.raises(DamagedError, match="^more than 1,000,000 values$"):
            saved_tensors.read(saved(tmp_path, laughs, zipped), MOST)

    def test_other_kinds_of_values_are_refused(self, tmp_path: Path, zipped: bool) -> None:
        with pytest.raises(DamagedError, match="^a dtype in it$"):
            saved_tensors.read(saved(tmp_path, {"of": torch.float32}, zipped), MOST)

    @pytest.mark.parametrize("kept", [0, 1, 60, -1])
    def test_a_file_that_is_cut_off_is_refused(self, tmp_path: Path, zipped: bool, kept: int) -> None:
        path = saved(tmp_path, {"w": torch.ones(999)}, zipped)
        path.write_bytes(path.read_bytes()[:kept])
        with pytest.raises(DamagedError):
            saved_tensors.read(path, MOST)

    def test_a_file_larger_than_allowed_is_not_read(self, tmp_path: Path, zipped: bool) -> None:
        with pytest.raises(InputError, match="bytes"):
            saved_tensors.read(saved(tmp_path, {"w": torch.ones(999)}, zipped), 1_000)


def test_a_changed_value_is_noticed(tmp_path: Path) -> None:
    path = saved(tmp_path, {"w": torch.zeros(999)}, ZIP)
    content = bytearray(path.read_bytes())
    content[content.index(bytes(999 * 4)) + 400] = 63
    path.write_bytes(content)
    with pytest.raises(DamagedError, match="data/0 in it has changed$"):
        saved_tensors.read(path, MOST)


def test_a_file_that_is_not_there_is_named_as_such(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        saved_tensors.read(tmp_path / "none.pt", MOST)


def in_a_pickle(path: Path, code: bytes) -> None:
    """Put code, whose result is dropped, at the beginning of the pickle in a file."""
    with zipfile.ZipFile(path) as before:
        parts = {name: before.read(name) for name in before.namelist()}
    with zipfile.ZipFile(path, "w") as after:
        for name, content in parts.items():
            after.writestr(name, content[:2] + code + b"0" + content[2:] if name.endswith(".pkl") else content)

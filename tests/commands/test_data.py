"""From the zip files that someone has downloaded to a data folder."""

import zipfile
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result
from finished_runs import draw_photos
from kaggle_server import KaggleServer
from PIL import Image
from typer.testing import CliRunner

from kaggle_tools.__main__ import app
from kaggle_tools.competitions.toml_file import read_competition
from kaggle_tools.errors import InputError
from kaggle_tools.system.files import LOCK_FILE

CONTENTS = {
    "train.zip": {"train/a_01.jpg": "photo"},
    "train_masks.zip": {"train_masks/a_01_mask.gif": "mask"},
    "test.zip": {"test/b_01.jpg": "photo"},
    "metadata.csv.zip": {"metadata.csv": "id,year\n"},
    "sample_submission.csv.zip": {"sample_submission.csv": "img,rle_mask\n"},
}
"""As Kaggle packs Carvana, without the archives that come on request."""


def unpack(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["unpack", *map(str, arguments)])


@pytest.fixture
def zips(tmp_path: Path) -> Path:
    """A folder with all archives that are needed."""
    folder = tmp_path / "zips"
    folder.mkdir()
    for name, contents in CONTENTS.items():
        with zipfile.ZipFile(folder / name, "w") as archive:
            for member, text in contents.items():
                archive.writestr(zipfile.ZipInfo(member), text)
    return folder


def test_all_archives_that_are_needed_are_unpacked_once(zips: Path, tmp_path: Path) -> None:
    for said in ("1 file unpacked", "was unpacked before"):
        result = unpack(zips, tmp_path / "data")
        assert result.exit_code == 0
        assert result.output.splitlines() == [f"{name}: {said}" for name in CONTENTS]
    files = sorted(path.relative_to(tmp_path / "data").as_posix() for path in (tmp_path / "data").rglob("*.*"))
    assert files == sorted(member for contents in CONTENTS.values() for member in contents)


def test_a_folder_that_lacks_an_archive_ends_in_an_error_once_the_rest_is_unpacked(zips: Path, tmp_path: Path) -> None:
    (zips / "train_masks.zip").unlink()
    result = unpack(zips, tmp_path / "data")
    assert isinstance(result.exception, InputError)
    assert str(result.exception) == (
        f"{tmp_path}/data: still lacks what is in train_masks.zip; put that into {zips} and unpack again"
    )
    assert (tmp_path / "data/train/a_01.jpg").exists()


def test_an_archive_whose_contents_lie_in_the_data_folder_is_not_missed(zips: Path, tmp_path: Path) -> None:
    unpack(zips, tmp_path / "data")
    (zips / "test.zip").unlink()
    assert unpack(zips, tmp_path / "data").exit_code == 0


def test_a_folder_that_does_not_exist_is_called_so(tmp_path: Path) -> None:
    result = unpack(tmp_path / "zips", tmp_path / "data")
    assert isinstance(result.exception, InputError)
    assert str(result.exception) == f"{tmp_path}/zips: no such folder"


def test_a_corrected_mask_stays_and_is_named(zips: Path, tmp_path: Path) -> None:
    unpack(zips, tmp_path / "data")
    mask = tmp_path / "data/train_masks/a_01_mask.gif"
    mask.write_text("corrected by hand")
    result = unpack(zips, tmp_path / "data")
    assert result.exit_code == 0
    assert mask.read_text() == "corrected by hand"
    assert (
        "1 file differs from those in train_masks.zip and stay as they are: train_masks/a_01_mask.gif" in result.output
    )


def test_what_does_not_belong_in_an_archive_is_left_out_and_named(zips: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(zips / "train.zip", "a") as archive:
        archive.writestr(".git/hooks/post-checkout", "evil")
    result = unpack(zips, tmp_path / "data")
    assert "train.zip: 1 file does not belong in it and were left out: .git/hooks/post-checkout" in result.output
    assert not (tmp_path / "data/.git").exists()


def test_the_zip_file_of_download_all_is_unpacked(zips: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        for name in CONTENTS:
            archive.write(zips / name, name)
    result = unpack(tmp_path / "all.zip", tmp_path / "data")
    assert result.exit_code == 0
    assert [(tmp_path / "data" / member).is_file() for held in CONTENTS.values() for member in held] == [True] * 5


def files_of(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("high_quality", [False, True])
def test_download_keeps_the_archives_in_a_folder_of_their_own_and_unpacks_them_beside_it(
    server: KaggleServer, zips: Path, tmp_path: Path, high_quality: bool
) -> None:
    server.files = {path.name: path.read_bytes() for path in zips.iterdir()}
    larger = {"train_hq.zip": b"train_hq/a_01.jpg", "test_hq.zip": b"test_hq/b_01.jpg"}
    for name, member in larger.items():
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            archive.writestr(member.decode(), "photo")
        server.files[name] = (tmp_path / name).read_bytes()
    data = tmp_path / "data"
    options = ["--high-quality"] if high_quality else []
    result = CliRunner().invoke(app, ["download", "--to", str(data), *options])
    assert result.exit_code == 0, result.exception
    assert result.output.splitlines()[-1] == f"{data / 'zips'} may be deleted now"
    assert files_of(data / "zips") == sorted([LOCK_FILE, *CONTENTS, *(larger if high_quality else ())])
    assert (data / "train" / "a_01.jpg").read_text() == "photo"
    assert (data / "train_hq").exists() == high_quality


@pytest.mark.usefixtures("starved")
def test_on_a_starved_machine_the_data_are_downloaded(server: KaggleServer, zips: Path, tmp_path: Path) -> None:
    server.files = {path.name: path.read_bytes() for path in zips.iterdir()}
    result = CliRunner().invoke(app, ["download", "--to", str(tmp_path / "data")])
    assert result.exit_code == 0, result.exception
    assert files_of(tmp_path / "data" / "zips") == sorted([LOCK_FILE, *CONTENTS])


def test_demo_data_draws_as_many_groups_of_the_size_and_seed_as_are_asked_for(tmp_path: Path) -> None:
    asked = ["demo-data", str(tmp_path), "--train-groups", "2", "--test-groups", "1", "--size", "36x50"]
    assert CliRunner().invoke(app, asked).output.splitlines() == [
        f"{tmp_path}: 32 photos with masks, 16 to be masked",
        f"{tmp_path / 'hidden_truth.csv'}: their true masks, for `score` alone",
    ]
    for other in (["--size", "36x51"], ["--seed", "1"], ["--train-groups", "1"]):
        assert isinstance(CliRunner().invoke(app, [*asked, *other]).exception, InputError)


@pytest.mark.parametrize("option", ["--train-groups", "--test-groups"])
def test_a_demo_without_any_group_is_refused(tmp_path: Path, option: str) -> None:
    assert CliRunner().invoke(app, ["demo-data", str(tmp_path / "demo"), option, "0"]).exit_code == 2
    assert not (tmp_path / "demo").exists()


class TestDraft:
    @pytest.fixture
    def data(self, tmp_path: Path) -> Path:
        data = tmp_path / "Roof Tiles"
        draw_photos(data, ["a_01", "a_02", "b_01", "b_02"])
        (data / "test").mkdir()
        noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 90, 3), dtype=np.uint8))
        for path in [*(data / "train").iterdir(), *(data / "test" / f"c_0{view}.jpg" for view in (1, 2))]:
            noise.save(path)
        (data / "sample.csv").write_text("img,rle_mask\nc_01.jpg,1 1\nc_02.jpg,1 1\n")
        return data

    def test_the_file_can_be_read_as_it_is_and_guesses_are_named(self, data: Path, tmp_path: Path) -> None:
        result = CliRunner().invoke(app, ["draft", str(data), "--out", str(tmp_path / "roofs.toml")])
        assert result.exit_code == 0, result.output
        competition = read_competition(tmp_path / "roofs.toml")
        assert (competition.slug, competition.id_pattern) == ("roof-tiles", "{stem}.jpg")
        assert "roofs.toml: look up slug, title, rle_order, rle_first, score; then train with" in result.output
        assert "id_column = 'img': seen, header of sample.csv" in result.output

    def test_a_slug_that_is_given_is_not_guessed(self, data: Path, tmp_path: Path) -> None:
        asked = ["draft", str(data), "--slug", "old-roofs", "--out", str(tmp_path / "roofs.toml")]
        result = CliRunner().invoke(app, asked)
        assert "slug = 'old-roofs': seen, --slug\n" in result.output
        assert "roofs.toml: look up title, rle_order, " in result.output

    def test_a_file_that_is_there_is_not_written_over(self, data: Path, tmp_path: Path) -> None:
        (tmp_path / "roofs.toml").write_text("mine")
        result = CliRunner().invoke(app, ["draft", str(data), "--out", str(tmp_path / "roofs.toml")])
        assert str(result.exception) == f"{tmp_path / 'roofs.toml'}: is there already; give another --out"
        assert (tmp_path / "roofs.toml").read_text() == "mine"

    def test_names_that_no_file_can_hold_are_refused(self, data: Path, tmp_path: Path) -> None:
        (data / "sample.csv").write_text("id,id\nc_01.jpg,1 1\nc_02.jpg,1 1\n")
        result = CliRunner().invoke(app, ["draft", str(data), "--out", str(tmp_path / "roofs.toml")])
        assert str(result.exception) == f"{data}: rle_column: must not be the name of another column"

    @pytest.mark.parametrize("slug", ["bad slug", "../up", ""])
    def test_an_impossible_slug_is_refused_by_the_name_of_its_option(
        self, data: Path, tmp_path: Path, slug: str
    ) -> None:
        asked = ["draft", str(data), "--slug", slug, "--out", str(tmp_path / "roofs.toml")]
        refusal = CliRunner().invoke(app, asked).exception
        assert isinstance(refusal, InputError)
        assert str(refusal) == f"--slug: {slug!r} must be the last part of the address at Kaggle, as in roof-tiles"
        assert not (tmp_path / "roofs.toml").exists()

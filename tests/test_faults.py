"""What every command that writes does on a disk that is full, or that takes no writes, and what it does afterwards."""

import io
import json
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
import warm_python
from drawn_runs import run_of_unets
from faults import PAGE, in_small_shared_memory, mounted
from finished_runs import write_two_runs
from kaggle_server import SLUG, KaggleServer
from known_competitions import CARVANA
from PIL import Image
from probability_folders import write_probabilities

from kaggle_tools.data.images import write_mask
from kaggle_tools.kaggle_api import ledger
from kaggle_tools.kaggle_api.ledger import Entry
from kaggle_tools.results.scores import Estimate, ExpectedScore

ROOM = 64 * 2**20
"""Bytes that suffice for whatever any of these commands writes."""
STEMS = [f"{car}_{view:02}" for car in "abcd" for view in (1, 2)]
SIZE = (60, 90)
DIFFERS = re.compile(r"(config|timing)\.json$|\.(ckpt|html|jsonl)$|/tensorboard/")
"""Names of files that hold times or a command line."""
TO_CONTINUE = re.compile(r"zips/\.\w+(\.csv)?\.zip\.part/|/progress\.json$")
"""Where a download is kept until it is whole, and what is known of a fold until it is finished."""
TENSORBOARD = "/tensorboard/"
"""Where a library writes what it likes."""
NOTED = Entry("cafe00112233", SLUG, "5 folds", expected=ExpectedScore(Estimate(0.99, None)))


class World(NamedTuple):
    """What the commands read, and where their disk is mounted."""

    folder: Path
    server: KaggleServer

    @property
    def disk(self) -> Path:
        return self.folder / "disk"


class Case(NamedTuple):
    """A command that writes."""

    command: str
    """The command line, with `{world}` for the folder of what it reads, and `{disk}` for the disk that it writes to."""
    prepare: Callable[[World], object] | None = None
    """Brings what must be there already."""


def has_masks(world: World) -> None:
    shutil.copytree(world.folder / "masks", world.disk / "pred" / "masks")


def has_submitted(world: World) -> None:
    ledger.intend(world.disk / "ledger.jsonl", NOTED)
    world.server.looks_until_scored = 0
    world.server.submissions.clear()
    world.server.submit("[cafe00112233] 5 folds")
    world.server.submissions[0]["date"] = "2026-11-27T12:00:00.000000Z"  # which the page shows


def offers_data(world: World) -> None:
    world.server.files = {path.name: path.read_bytes() for path in (world.folder / "zips").iterdir()}


CASES = {
    "demo-data": Case("-m kaggle_tools demo-data {disk}/new --train-groups 1 --test-groups 1 --size 60x90"),
    "unpack": Case("-m kaggle_tools unpack {world}/zips {disk}/new"),
    "download": Case("-m kaggle_tools download --to {disk}/new", offers_data),
    "train": Case(
        "train.py --data {world}/data --out {disk}/new --preset demo --folds 2 --fold 0 --width 4 --depth 1 "
        "--image-size 24x36 --epochs 2 --batch-size 2 --workers 0 --no-report"
    ),
    "infer": Case(
        "infer.py {world}/run --data {world}/data --out {disk}/new --workers 0 --save-probabilities --overlays "
        "--no-report"
    ),
    "blend": Case(
        "-m kaggle_tools blend {world}/a {world}/b --out {disk}/new --workers 0 --save-probabilities --overlays "
        "--no-report"
    ),
    "submit": Case("submit.py {disk}/pred --data {world}/data --dry-run", has_masks),
    "score": Case("-m kaggle_tools score {world}/long.csv {world}/long.csv --per-image {disk}/score.csv"),
    "report": Case("-m kaggle_tools report {world}/two/worse/run {world}/two/better/run --out {disk}/new/page.html"),
    "submissions": Case(
        "-m kaggle_tools submissions --ledger {disk}/ledger.jsonl --plot {disk}/plot.png --html {disk}/page.html",
        has_submitted,
    ),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What all the commands read."""
    folder = tmp_path_factory.mktemp("world")
    generator = np.random.default_rng(0)
    for place in ("train", "train_masks", "test"):
        (folder / "data" / place).mkdir(parents=True)
    maps = {}
    for stem in STEMS:
        photo = Image.fromarray(generator.integers(0, 256, (*SIZE, 3), dtype=np.uint8))
        mask_HW = generator.random(SIZE) < 0.5
        photo.save(folder / "data" / "train" / f"{stem}.jpg")
        photo.save(folder / "data" / "test" / f"{stem}.jpg")
        Image.fromarray(mask_HW.astype(np.uint8) * 255).save(folder / "data" / "train_masks" / f"{stem}_mask.gif")
        write_mask(folder / "masks" / f"{stem}.png", mask_HW)
        maps[stem] = generator.integers(0, 256, SIZE)
    write_probabilities(folder / "a", maps, noted=True)
    write_probabilities(folder / "b", maps, noted=True)
    sample = "".join(f"{stem}.jpg,1 1\n" for stem in STEMS)
    (folder / "data" / "sample_submission.csv").write_text(f"img,rle_mask\n{sample}")
    many = "".join(f"{number:06}_01.jpg,1 1\n" for number in range(1000))
    (folder / "long.csv").write_text(f"img,rle_mask\n{many}")
    (folder / "zips").mkdir()
    for archive in CARVANA.archives:
        with zipfile.ZipFile(folder / "zips" / archive.name, "w") as file:
            for name in sorted({archive.expected[0].replace("*", str(number)) for number in range(4)}):
                file.writestr(name, generator.bytes(5000))
    run_of_unets(folder / "run", folds=1)
    write_two_runs(folder / "two")
    return folder


@pytest.fixture
def world(folder: Path, server: KaggleServer) -> World:
    """With a server that takes the place of Kaggle."""
    return World(folder, server)


def contents(disk: Path) -> dict[str, bytes]:
    """Every file, hidden ones too, but for locks, which are empty."""
    files = (path for path in disk.rglob("*") if path.is_file() and not path.name.endswith(".lock"))
    return {path.relative_to(disk).as_posix(): path.read_bytes() for path in files}


def start(name: str, world: World) -> list[str]:
    """Bring what must be there, and give the command line."""
    case = CASES[name]
    if case.prepare:
        case.prepare(world)
    return case.command.format(world=world.folder, disk=world.disk).split()


def final(files: dict[str, bytes]) -> dict[str, bytes]:
    """What the same command leaves each time: without times and command lines."""
    return {name: content for name, content in files.items() if not DIFFERS.search(name)}


def assert_one_message(done: warm_python.Done, world: World) -> None:
    """It failed, with one message that names a file of the disk."""
    assert done.returncode == 1, done
    assert "Traceback" not in done.stdout + done.stderr
    assert done.stderr.count("error: ") == 1, done.stderr
    assert str(world.disk) in done.stderr, done.stderr


def assert_nothing_is_half_written(files: dict[str, bytes], expected: dict[str, bytes]) -> None:
    """What is there has a final name, and is whole."""
    for name, content in files.items():
        if TO_CONTINUE.search(name):
            continue
        assert name in expected or TENSORBOARD in name, name
        if name.endswith(".json"):
            json.loads(content)
        elif name.endswith(".ckpt"):
            torch.load(io.BytesIO(content), weights_only=True)
        elif name.endswith((".html", "metrics.csv", ".jsonl")):
            assert content.endswith((b"</html>", b"\n")), name
        elif TENSORBOARD not in name:
            assert content == expected[name], name


def done_on_a_healthy_disk(name: str, world: World) -> tuple[dict[str, bytes], int]:
    """The files that the command leaves, and the bytes that they take."""
    with mounted(world.disk) as disk:
        command = start(name, world)
        before = disk.used
        done = warm_python.run(*command)
        assert done.returncode == 0, done
        return contents(disk.path), disk.used - before


def try_on_a_full_disk(name: str, world: World, expected: dict[str, bytes], free: int) -> None:
    """Run it where so many bytes are free, and once more where there is room."""
    with mounted(world.disk) as disk:
        command = start(name, world)
        disk.resize(disk.used + free)
        assert_one_message(warm_python.run(*command), world)
        assert_nothing_is_half_written(contents(disk.path), expected)
        disk.resize(ROOM)
        done = warm_python.run(*command)
        assert done.returncode == 0, done
        assert_nothing_is_half_written(contents(disk.path), expected)
        assert final(contents(disk.path)) == final(expected)


@pytest.mark.parametrize("name", CASES)
def test_on_a_full_disk_a_command_ends_in_one_message_and_continues_once_there_is_room(name: str, world: World) -> None:
    expected, needed = done_on_a_healthy_disk(name, world)
    try_on_a_full_disk(name, world, expected, needed // 2)


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_wherever_a_command_meets_the_end_of_the_disk_nothing_is_half_written(name: str, world: World) -> None:
    expected, needed = done_on_a_healthy_disk(name, world)
    for free in range(0, needed - PAGE, max(PAGE, needed // PAGE // 10 * PAGE)):
        try_on_a_full_disk(name, world, expected, free)


@pytest.mark.parametrize("name", CASES)
def test_on_a_read_only_disk_a_command_ends_in_one_message(name: str, world: World) -> None:
    with mounted(world.disk) as disk:
        command = start(name, world)
        before = contents(disk.path)
        disk.make_read_only()
        assert_one_message(warm_python.run(*command), world)
        assert contents(disk.path) == before


@pytest.mark.slow  # an interpreter that starts by itself takes seconds
@pytest.mark.parametrize("name", ["train", "infer", "blend"])
def test_with_little_shared_memory_a_command_says_so_and_continues_without_workers(name: str, world: World) -> None:
    with mounted(world.disk):
        command = start(name, world)
        of_workers = command.index("--workers") + 1
        with_workers = [sys.executable, *command[:of_workers], "2", *command[of_workers + 1 :]]
        said = world.disk / "said"

        def run() -> None:
            with said.open("w") as file:
                subprocess.run(with_workers, cwd=warm_python.ROOT, stdout=file, stderr=file)

        in_small_shared_memory("8k", run)
        assert said.read_text().count("error: ") == 1
        assert "error: /dev/shm: too small for the photos" in said.read_text()
        assert "Traceback" not in said.read_text()
        done = warm_python.run(*command)
        assert done.returncode == 0, done

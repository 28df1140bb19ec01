import os
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from kaggle_server import SECRET, USERNAME, KaggleServer
from PIL import Image
from virtual_time import VirtualTime
from warm_child_processes import WarmChildProcesses

from kaggle_tools import metrics
from kaggle_tools.competitions.competition import Competition
from kaggle_tools.data.images import write_mask
from kaggle_tools.data.listing import Photo
from kaggle_tools.kaggle_api import client, submissions

SHARED = Path(__file__).resolve().parents[2] / "shared"

# Read when torch is loaded, here and in the processes that tests start. The networks of the tests are tiny, so that
# threads only wait for each other, all the more where tests run beside each other.
os.environ["OMP_NUM_THREADS"] = "1"


def pytest_addoption(parser: pytest.Parser) -> None:
    """How hard to try: the tests that kill processes kill so many more."""
    parser.addoption("--kills", type=int, default=1, help="random kills in each test that kills processes")


LONGEST = (
    "test_pipeline",
    "test_faults",
    "test_submit",
    "test_fold",
    "test_client",
    "test_installed",
    "test_second_competition",
    "test_page",
)
"""Files that take longest, begun first where several processes share the files: so all of them end together."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Bring the longest files to the front."""
    first = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: first.get(item.path.stem, len(first)))


@pytest.fixture
def tiles() -> Competition:
    """Unlike Carvana wherever it can be: no groups, ids without extension, columns first, from 0, never blank."""
    return Competition(
        slug="roof-tiles",
        title="Roof Tiles",
        archives=(),
        train_photos="images/{stem}.png",
        train_masks="masks/{stem}.png",
        test_photos="unseen/images/{stem}.png",
        sample_submission="sample.csv",
        stem_format="{view}",
        id_pattern="{stem}",
        id_column="id",
        rle_column="pixels",
        rle_order="column-major",
        rle_first=0,
        score_name="IoU",
        score=metrics.iou,
        blank_mask="-1",
        blank_allowed=False,
    )


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> list[Photo]:
    """Thirteen photos of 20x30: bright boxes on a dark ground."""
    size = (20, 30)
    folder = tmp_path_factory.mktemp("photos")
    generator = np.random.default_rng(0)
    drawn = []
    for number in range(13):
        mask_HW = np.zeros(size, dtype=bool)
        top, left = generator.integers(1, (8, 12))
        mask_HW[top : top + 9, left : left + 14] = True
        pixels = np.where(mask_HW, 190, 70)[..., None] + generator.integers(-40, 40, (*size, 3))
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{number}.png")
        write_mask(folder / f"{number}_mask.png", mask_HW)
        drawn.append(Photo(str(number), folder / f"{number}.png", size, folder / f"{number}_mask.png"))
    return drawn


@pytest.fixture
def carvana_photos() -> Path:
    """Real photos and masks in Kaggle's layout, where they lie beside the repository."""
    folder = SHARED / "carvana"
    if not folder.is_dir():
        pytest.skip(f"the real photos are not at {folder}")
    return folder


@pytest.fixture(autouse=True)
def ledger_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where submissions are noted, in every test: never in the user's own file."""
    path = tmp_path / "notes" / "submissions.jsonl"
    monkeypatch.setenv("KAGGLE_TOOLS_LEDGER", str(path))
    return path


@pytest.fixture(scope="session")
def warm_child_processes() -> Iterator[WarmChildProcesses]:
    """Processes for the calls to Kaggle that need not import the `kaggle` package's libraries."""
    with TemporaryDirectory() as folder:  # a short path: that of a socket has at most 100 characters or so
        processes = WarmChildProcesses(Path(folder) / "socket")
        yield processes
        processes.close()


@pytest.fixture
def server(
    tmp_path: Path, ledger_path: Path, warm_child_processes: WarmChildProcesses, monkeypatch: pytest.MonkeyPatch
) -> Iterator[KaggleServer]:
    """The server, with its address and right credentials in the environment, and nothing else."""
    monkeypatch.setattr(client, "COMMAND", warm_child_processes.command)
    for name in list(os.environ):
        if name.upper().startswith("KAGGLE_") or name.upper().endswith("_PROXY"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("KAGGLE_TOOLS_LEDGER", str(ledger_path))
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.setenv("KAGGLE_USERNAME", USERNAME)
    monkeypatch.setenv("KAGGLE_KEY", SECRET)
    with KaggleServer() as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        yield server


@pytest.fixture
def no_secret_in_the_output(capfd: pytest.CaptureFixture[str]) -> Iterator[None]:
    """Whatever happens, neither the credentials nor a signed address reach the terminal."""
    yield
    shown = "".join(capfd.readouterr())
    assert SECRET not in shown
    assert "signature" not in shown


@pytest.fixture
def virtual_time(server: KaggleServer, monkeypatch: pytest.MonkeyPatch) -> VirtualTime:
    """No real time passes while the client pauses or the server is silent."""
    passing = VirtualTime(server)
    monkeypatch.setattr(client, "time", passing)
    monkeypatch.setattr(submissions, "time", passing)
    monkeypatch.setattr(client, "_output", passing.output)
    return passing


@pytest.fixture
def starved(virtual_time: VirtualTime, monkeypatch: pytest.MonkeyPatch) -> VirtualTime:
    """On a machine that is so busy that each start of Kaggle's client takes longer than any limit, as virtual time."""
    monkeypatch.setattr(client.os, "read", virtual_time.read_late)
    return virtual_time

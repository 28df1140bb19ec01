"""Whatever stands in a file: its reader returns, or refuses it with a message of ours, in bounded time and memory.

Hypothesis edits files that are whole. What it finds lies in `tests/fuzz_corpus` from then on, in a folder named after
the reader, and is read by `make test`. `make fuzz MINUTES=60` goes on for as long as you like.
"""

import hashlib
import os
import resource
import shutil
import signal
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import hypothesis
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from known_competitions import CARVANA
from shared_folder import write_shared_folder

from kaggle_tools.commands.train import config_in_file
from kaggle_tools.competitions.named import recorded
from kaggle_tools.competitions.toml_file import read_competition
from kaggle_tools.data import archives, fingerprint, images
from kaggle_tools.errors import KaggleToolsError
from kaggle_tools.kaggle_api import child_process, credentials, ledger, overview
from kaggle_tools.kaggle_api.submissions import Submission
from kaggle_tools.models import weights
from kaggle_tools.results import pred_folder, run_folder, summary
from kaggle_tools.results.records.progress import read_progress
from kaggle_tools.submission.check import check_submission
from kaggle_tools.submission.score import score_submission

CORPUS = Path(__file__).parent / "fuzz_corpus"
MINUTES = float(os.environ.get("FUZZ_MINUTES", 0))
EXAMPLES = 1000 if MINUTES else 120
CPU_SECONDS, MEMORY_BYTES = 60, 2 * 2**30
"""What one small file may cost at most. Usual are milliseconds and megabytes."""

TOKENS = [
    *b'[ ] { } : , " - . / ../ e NaN Infinity null true 1e999 -1 \\ud800 \\u0000'.split(),
    *(b"", b" ", b"\n", b"\r", b"\0", b"\xff", b"9" * 30, b"[" * 2000, b'{"a":' * 2000),
    *(b"\xef\xbb\xbf", b"\xff\xfe", b"PK\x03\x04", b"\x1f\x8b", b"%!PS"),
    *(b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff"),
]
"""What is put in the place of bytes: the words of these formats, the starts of others, and large numbers."""


class Reader(NamedTuple):
    """What reads a file of the shared folder."""

    file: str
    read: Callable[[Path], Any]
    errors: type[Exception] = KaggleToolsError


def read_run(file: Path) -> None:
    run_folder.read_settings(file.parent)
    config_in_file(file, CARVANA)


def read_ledger(file: Path) -> None:
    entries = ledger.read(file)
    overview.table(entries).turned_for_terminal()
    overview.known_scores(entries)
    ledger.left_out(file)
    ledger.best_public_score(file, CARVANA.slug)


def read_archive(file: Path) -> None:
    (archive,) = (archive for archive in CARVANA.archives if archive.name == "train.zip")
    unpacked = file.parent / "unpacked"
    try:
        archives.unpack(file, unpacked, archive)
    finally:
        shutil.rmtree(unpacked, ignore_errors=True)


def read_csv(file: Path) -> None:
    folder = file.parent
    check_submission(file, folder / "sample_submission.csv", CARVANA, allow_degenerate=True)
    score_submission(file, folder / "data" / "train_masks", CARVANA)


def read_image(file: Path) -> None:
    """Each reader by itself: one may refuse what another one takes."""
    readers = (
        images.read_mask,
        images.read_photo,
        images.read_gray,
        images.read_texts,
        images.read_notes,
        images.image_size,
    )
    for read in readers:
        try:
            read(file)
        except KaggleToolsError:
            continue


def read_credentials(file: Path) -> None:
    """Those in the home folder; the token comes first."""
    token = file.with_name("access_token")
    hidden = token.rename(token.with_suffix(".hidden")) if token != file else None
    try:
        with mock.patch.dict(os.environ, HOME=str(file.parents[1])):
            credentials.find({})
    finally:
        if hidden:
            hidden.rename(token)


READERS = [
    Reader("run/config.json", read_run),
    Reader("run/competition.json", lambda file: recorded(file.parent, CARVANA.slug)),
    Reader("competition.toml", read_competition),
    Reader("run/fold0/timing.json", lambda file: run_folder.read_timing(file.parent)),
    Reader("run/fold0/progress.json", lambda file: read_progress(file.parent)),
    Reader("run/fold0/model.json", lambda file: weights.load(file.parent)),
    Reader("run/fold0/model.safetensors", lambda file: weights.load(file.parent)),
    Reader("run/fold0/oof.csv", lambda file: run_folder.read_oof(file.parents[1], [0])),
    Reader("run/fold0/metrics.csv", lambda file: run_folder.read_metrics(file.parents[1], 0)),
    Reader("run/fold0/oof_histograms.npz", lambda file: summary.held_out_by(file.parents[1], [0])),
    Reader("run/folds.csv", lambda file: run_folder.read_folds(file.parent)),
    Reader("run/data.csv", fingerprint.read_fingerprint),
    Reader("pred/run.json", lambda file: pred_folder.read_record(file.parent)),
    Reader("pred/photos.csv", lambda file: pred_folder.read_photos(file.parent)),
    Reader("sample_submission.csv", read_csv),
    Reader("submission.csv", read_csv),
    Reader("submission.csv.gz", read_csv),
    Reader("submission.csv.zip", read_csv),
    Reader("train.zip", read_archive),
    *(
        Reader(name, read_image)
        for name in ("mask.png", "mask.gif", "photo.jpg", "photo.png", "photo.tif", "photo.bmp")
    ),
    Reader("ledger.jsonl", read_ledger),
    Reader(".kaggle/kaggle.json", read_credentials, credentials.CredentialsError),
    Reader(".kaggle/access_token", read_credentials, credentials.CredentialsError),
]
BY_FILE = {reader.file: reader for reader in READERS}
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from(["COMPLETE", "0.99", "None", "NaN"]),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)
ROW = st.dictionaries(
    st.sampled_from(["ref", "description", "status", "publicScore", "privateScore", "errorDescription", "date"]), JSON
)


def edited(whole: bytes) -> st.SearchStrategy[bytes]:
    """The file with bytes taken out and others put in at up to five places; or quite another one."""
    place = st.integers(0, len(whole))
    edit = st.tuples(place, st.integers(0, 40), st.sampled_from(TOKENS) | st.binary(max_size=8))
    return st.lists(edit, min_size=1, max_size=5).map(lambda edits: _edited(whole, edits)) | st.binary(max_size=200)


def _edited(whole: bytes, edits: list[tuple[int, int, bytes]]) -> bytes:
    for at, removed, token in edits:
        whole = whole[:at] + token + whole[at + removed :]
    return whole


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shared")
    write_shared_folder(folder)
    return folder


@contextmanager
def bounded() -> Iterator[None]:
    """Ends what computes without end, and denies memory beyond what a small file can need."""

    def refuse(*_: object) -> None:
        raise TimeoutError(f"computes for {CPU_SECONDS} seconds")

    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    before = resource.getrlimit(resource.RLIMIT_AS)
    handler = signal.signal(signal.SIGVTALRM, refuse)
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY_BYTES, before[1]))
    signal.setitimer(signal.ITIMER_VIRTUAL, CPU_SECONDS)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # libraries warn of what is odd in a file
            yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, handler)
        resource.setrlimit(resource.RLIMIT_AS, before)


def read_or_refuse(reader: Reader, path: Path, content: bytes) -> None:
    path.write_bytes(content)
    try:
        with bounded():
            reader.read(path)
    except reader.errors as refusal:
        said = str(refusal)
        assert 0 < len(said) <= 5000


@pytest.fixture
def reader_and_path(request: pytest.FixtureRequest, shared: Path) -> Iterator[tuple[Reader, Path]]:
    path = shared / request.param.file
    whole = path.read_bytes()
    yield request.param, path
    path.write_bytes(whole)


def found_before() -> list[Any]:
    files = sorted(path for path in CORPUS.rglob("*") if path.is_file())
    return [
        pytest.param(BY_FILE[str(file.parent.relative_to(CORPUS))], file, id=str(file.relative_to(CORPUS)))
        for file in files
    ]


@pytest.mark.parametrize(("reader", "file"), found_before())
def test_what_was_found_before_is_read_or_refused(shared: Path, reader: Reader, file: Path) -> None:
    path = shared / reader.file
    whole = path.read_bytes()
    try:
        read_or_refuse(reader, path, file.read_bytes())
    finally:
        path.write_bytes(whole)


@pytest.mark.slow
@pytest.mark.timeout(600 + 120 * MINUTES)
@pytest.mark.parametrize("reader_and_path", READERS, indirect=True, ids=lambda reader: reader.file)
def test_whatever_stands_in_a_file_its_reader_returns_or_refuses_it(
    reader_and_path: tuple[Reader, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    reader, path = reader_and_path
    tried, content = 0, path.read_bytes()
    reader.read(path)  # as it is, it can be read

    @settings(
        max_examples=EXAMPLES,
        derandomize=not MINUTES,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(edited(content))
    def read(edited_content: bytes) -> None:
        nonlocal tried, content
        tried, content = tried + 1, edited_content
        read_or_refuse(reader, path, content)

    until = time.monotonic() + 60 * MINUTES / len(READERS)
    try:
        read()
        while time.monotonic() < until:
            hypothesis.seed(int.from_bytes(os.urandom(4)))(read)()
    except BaseException:
        kept = CORPUS / reader.file / hashlib.sha256(content).hexdigest()[:12]
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_bytes(content)  # the last one that was tried is the smallest that fails
        raise
    if MINUTES:
        with capsys.disabled():
            print(f" {reader.file}: {tried:,} inputs")


@settings(max_examples=50, deadline=None)
@given(st.lists(ROW | JSON, max_size=3))
def test_whatever_kaggle_sends_as_a_row_becomes_a_submission_or_nothing(rows: list[Any]) -> None:
    read = [row for row in map(child_process._submission, rows) if row]
    entries = [ledger.made_elsewhere(Submission(CARVANA.slug, **row)) for row in read]
    overview.table(entries).for_terminal()
    overview.known_scores(entries)

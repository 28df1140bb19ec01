import hashlib
import json
import os
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import Result
from PIL import Image
from typer.testing import CliRunner

from kaggle_tools import leaderboard
from kaggle_tools.competition import CARVANA
from kaggle_tools.errors import InputError, LeaderboardError
from kaggle_tools.images import write_mask

ROOT = Path(__file__).resolve().parents[1]
SCRIPT = runpy.run_path(str(ROOT / "submit.py"))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A competition's data with three photos to be masked."""
    folder = tmp_path / "data"
    (folder / "test").mkdir(parents=True)
    stems = ["a_01", "a_02", "b_01"]
    (folder / "sample_submission.csv").write_text("".join(["img,rle_mask\n", *(f"{stem}.jpg,1 1\n" for stem in stems)]))
    for stem in stems:
        Image.new("RGB", (30, 20)).save(folder / "test" / f"{stem}.jpg")
    return folder


@pytest.fixture
def pred(tmp_path: Path) -> Path:
    """A folder that holds nothing but masks."""
    for number, stem in enumerate(["a_01", "a_02", "b_01"]):
        mask = np.zeros((20, 30), dtype=bool)
        mask[2 : 10 + number, 3:25] = True
        write_mask(tmp_path / "pred" / "masks" / f"{stem}.png", mask)
    return tmp_path / "pred"


def submit(*arguments: Any) -> Result:
    return CliRunner().invoke(SCRIPT["app"], list(map(str, arguments)))


def refusal(*arguments: Any) -> str:
    error = submit(*arguments).exception
    assert isinstance(error, InputError)
    return str(error)


def test_a_dry_run_leaves_the_csv_and_says_what_is_in_it(pred: Path, data: Path) -> None:
    write_mask(pred / "masks" / "a_02.png", np.zeros((20, 30), dtype=bool))
    result = submit(pred, "--data", data, "--dry-run")
    csv, packed = pred / "submission.csv", pred / "submission.csv.gz"
    assert result.exit_code == 0, result.output
    assert result.output.splitlines()[-5:] == [
        "Carvana Image Masking: 3 masks, 1 of them blank",
        "warning: 1 of 3 masks are blank",
        f"{csv}: {csv.stat().st_size:,} bytes",
        f"{packed}: {packed.stat().st_size:,} bytes",
        "dry run: nothing was sent",
    ]
    assert csv.read_text().splitlines()[2] == "a_02.jpg,"
    assert sorted(path.name for path in pred.iterdir()) == ["masks", "submission.csv", "submission.csv.gz"]


def test_the_sample_alone_is_enough(pred: Path, data: Path) -> None:
    result = submit(pred, "--sample", data / "sample_submission.csv", "--dry-run")
    assert result.exit_code == 0, result.output


def test_either_the_data_or_the_sample_must_be_given(pred: Path, data: Path) -> None:
    assert refusal(pred, "--dry-run").startswith("give either --data DIR or --sample FILE")
    assert refusal(pred, "--dry-run", "--data", data, "--sample", data / "sample_submission.csv").startswith(
        "give either"
    )


def test_missing_masks_are_refused_by_the_script_with_one_line(pred: Path, data: Path) -> None:
    (pred / "masks" / "a_02.png").unlink()
    done = run_script("submit.py", str(pred), "--data", str(data), "--dry-run")
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        f"error: {pred / 'masks'}: 1 of 3 masks are missing: a_02.png; "
        "run infer.py on all photos of the sample submission first"
    ]
    assert not (pred / "submission.csv").exists()


def test_masks_of_another_size_than_their_photos_are_refused(pred: Path, data: Path) -> None:
    write_mask(pred / "masks" / "b_01.png", np.ones((20, 31), dtype=bool))
    assert "b_01.png (is 31x20, its photo 30x20)" in refusal(pred, "--data", data, "--dry-run")


def test_only_full_masks_are_refused_unless_forced(pred: Path, data: Path) -> None:
    for path in (pred / "masks").iterdir():
        write_mask(path, np.ones((20, 30), dtype=bool))
    assert "all 3 masks are full" in refusal(pred, "--data", data, "--dry-run")
    assert submit(pred, "--data", data, "--dry-run", "--force").exit_code == 0


def test_what_is_sent_must_have_a_message(pred: Path, data: Path) -> None:
    assert refusal(pred, "--data", data).startswith("give -m")
    assert not (pred / "submission.csv").exists()


def test_the_competition_is_read_from_the_folder(pred: Path, data: Path) -> None:
    (pred / "run.json").write_text('{"competition": "unheard-of"}')
    assert "unheard-of: not known" in refusal(pred, "--data", data, "--dry-run")
    (pred / "run.json").write_text(json.dumps({"competition": CARVANA.slug}))
    assert submit(pred, "--data", data, "--dry-run", "--competition", CARVANA.slug).exit_code == 0
    message = refusal(pred, "--data", data, "--dry-run", "--competition", "another")
    assert message.startswith("these belong to different competitions")


@pytest.mark.parametrize("content", ["", "{", "[]", "{}"])
def test_a_damaged_record_is_named(pred: Path, data: Path, content: str) -> None:
    (pred / "run.json").write_text(content)
    assert "run.json: damaged" in refusal(pred, "--data", data, "--dry-run")


class FakeKaggle:
    """Stands in for `leaderboard`, whose own tests use the real client."""

    def __init__(self, scored: leaderboard.Submission) -> None:
        self.scored = scored
        self.sent: list[tuple[Path, str, str]] = []
        self.waited = 0

    def submit(self, csv: Path, slug: str, message: str, *, timeout: float) -> leaderboard.Submission:
        assert timeout == 100
        self.sent.append((csv, slug, message))
        return leaderboard.Submission(slug, 17, f"[id] {message}")

    def wait_for_score(self, submission: leaderboard.Submission, *, timeout: float) -> leaderboard.Submission:
        assert submission.ref == 17
        assert 0 < timeout <= 100
        self.waited += 1
        return self.scored


@pytest.fixture
def kaggle(monkeypatch: pytest.MonkeyPatch) -> FakeKaggle:
    fake = FakeKaggle(leaderboard.Submission(CARVANA.slug, 17, "[id] mine", "COMPLETE", 0.9965, 0.9963))
    monkeypatch.setattr(leaderboard, "submit", fake.submit)
    monkeypatch.setattr(leaderboard, "wait_for_score", fake.wait_for_score)
    return fake


def recorded(pred: Path) -> dict[str, Any]:
    return json.loads((pred / "submitted.json").read_text())


def test_the_compressed_csv_is_sent_and_its_score_printed_and_recorded(
    pred: Path, data: Path, kaggle: FakeKaggle
) -> None:
    result = submit(pred, "--data", data, "-m", "mine", "--timeout", "100")
    assert result.exit_code == 0, result.output
    assert result.output.splitlines()[-1] == "public score 0.9965, private score 0.9963"
    assert kaggle.sent == [(pred / "submission.csv.gz", CARVANA.slug, "mine")]
    record = recorded(pred)
    assert record.pop("time").endswith("+00:00")
    assert record == {
        "message": "mine",
        "sha256": hashlib.sha256((pred / "submission.csv").read_bytes()).hexdigest(),
        "slug": CARVANA.slug,
        "ref": 17,
        "description": "[id] mine",
        "status": "COMPLETE",
        "public_score": 0.9965,
        "private_score": 0.9963,
        "error": "",
        "date": "",
    }


def test_without_waiting_the_record_says_pending(pred: Path, data: Path, kaggle: FakeKaggle) -> None:
    assert submit(pred, "--data", data, "-m", "mine", "--no-wait", "--timeout", "100").exit_code == 0
    assert kaggle.waited == 0
    assert recorded(pred)["status"] == "PENDING"


def test_no_score_in_time_is_no_failure(pred: Path, data: Path, kaggle: FakeKaggle) -> None:
    kaggle.scored = leaderboard.Submission(CARVANA.slug, 17, "[id] mine", "PENDING")
    result = submit(pred, "--data", data, "-m", "mine", "--timeout", "100")
    assert result.exit_code == 0
    assert "has not scored it yet" in result.output


def test_a_submission_that_kaggle_cannot_score_is_a_failure(pred: Path, data: Path, kaggle: FakeKaggle) -> None:
    kaggle.scored = leaderboard.Submission(CARVANA.slug, 17, "[id] mine", "ERROR", error="bad row 5")
    result = submit(pred, "--data", data, "-m", "mine", "--timeout", "100")
    assert isinstance(result.exception, LeaderboardError)
    assert str(result.exception) == "Kaggle could not score the submission: bad row 5"
    assert recorded(pred)["status"] == "ERROR"


@pytest.mark.parametrize("what", ["--help", "a dry run"])
def test_torch_is_never_imported(pred: Path, data: Path, what: str) -> None:
    arguments = ["--help"] if what == "--help" else [str(pred), "--data", str(data), "--dry-run"]
    watched = (
        "import runpy, sys\n"
        f"sys.argv = ['submit.py', *{arguments}]\n"
        "try:\n"
        "    runpy.run_path('submit.py', run_name='__main__')\n"
        "except SystemExit as end:\n"
        "    print(end.code, sorted({'torch', 'cv2', 'pandas'} & sys.modules.keys()))\n"
    )
    done = run_script("-c", watched)
    loaded = "[]" if what == "--help" else "['cv2']"
    assert done.stdout.splitlines()[-1] == f"0 {loaded}", done.stderr


def run_script(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False
    )

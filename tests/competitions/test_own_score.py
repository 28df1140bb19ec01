import hashlib
import pickle
from pathlib import Path

import numpy as np
import pytest

from kaggle_tools.competitions.own_score import OwnScore, read_own_score
from kaggle_tools.errors import InputError
from kaggle_tools.metrics import Overlap

RECALL = """\
import numpy as np

def recall(intersection, predicted, truth):
    return np.where(truth > 0, intersection / np.maximum(truth, 1e-9), predicted == 0)
"""


@pytest.fixture
def toml(tmp_path: Path) -> Path:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "scores.py").write_text(RECALL)
    return tmp_path / "mine" / "roofs.toml"


def refusal(toml: Path, source: str, name: str = "f") -> str:
    (toml.parent / "scores.py").write_text(source)
    with pytest.raises(InputError) as caught:
        read_own_score(f"scores.py:{name}", toml)
    return str(caught.value).removeprefix(str(toml.parent / "scores.py"))


def returning(value: str) -> str:
    return f"import numpy as np\ndef f(intersection, predicted, truth):\n    return {value}\n"


def test_the_function_beside_the_file_is_the_score(toml: Path) -> None:
    score = read_own_score("scores.py:recall", toml)
    assert (score.name, score.sha256) == ("recall", hashlib.sha256(RECALL.encode()).hexdigest())
    assert score(Overlap(3, 9, 4)) == 0.75
    counts = Overlap(np.array([[3, 0], [0, 4]]), np.array([[9, 0], [1, 4]]), np.array([[4, 0], [0, 5]]))
    assert score(counts).tolist() == [[0.75, 1], [0, 0.8]]


def test_the_function_cannot_change_the_counts(toml: Path) -> None:
    (toml.parent / "scores.py").write_text("def f(shared, predicted, truth):\n    shared[:] = 0\n    return shared\n")
    counts = np.array([3.0])
    assert read_own_score("scores.py:f", toml)(Overlap(counts, counts, counts)).tolist() == [0]
    assert counts.tolist() == [3]


def test_what_is_a_little_more_than_1_by_rounding_counts_as_1(toml: Path) -> None:
    (toml.parent / "scores.py").write_text(returning("np.full(len(truth), 1 + 1e-12)"))
    assert read_own_score("scores.py:f", toml)(Overlap(1, 1, 1)) == 1


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("x = 1\n", ": has no function f, which {toml} names as the score"),
        ("f = 1\n", ": has no function f, which {toml} names as the score"),
        ("def f(:\n", ": cannot be run (SyntaxError: "),
        ("1 / 0\n", ": cannot be run (ZeroDivisionError: division by zero)"),
        ("raise SystemExit\n", ": cannot be run (SystemExit: )"),
        (returning("exit(3)"), ":f: raised SystemExit: 3"),
        (returning("missing"), ":f: raised NameError: name 'missing' is not defined"),
        ("def f(counts): return counts\n", ":f: raised TypeError: f() takes 1 positional argument but 3 were given"),
        (returning("'much'"), ":f: raised ValueError: could not convert string to float"),
        (returning("0.5"), ":f: gave shape () for masks of shape (8,)"),
        (returning("np.stack([truth, truth])"), ":f: gave shape (2, 8) for masks of shape (8,)"),
        (
            returning("intersection / truth"),
            ":f: gave nan for intersection 0, predicted 0, truth 0; a score must be from 0 to 1",
        ),
        (returning("truth"), ":f: gave 7 for intersection 0, predicted 0, truth 7; a score must be from 0 to 1"),
        (returning("-1 * (predicted > 9)"), ":f: gave -1 for intersection 1, predicted 100, truth 2; a score must"),
        (
            returning("intersection / intersection.max() if intersection.any() else intersection"),
            ":f: gave 1 for a mask alone and 3.33333e-09 for it among others; the score of a mask must",
        ),
    ],
)
def test_what_is_wrong_with_a_function_is_said_when_it_is_read(toml: Path, source: str, said: str) -> None:
    assert refusal(toml, source).startswith(said.format(toml=toml))


def test_a_file_that_is_missing_is_named(toml: Path) -> None:
    with pytest.raises(InputError) as caught:
        read_own_score("other.py:f", toml)
    missing = toml.parent / "other.py"
    assert str(caught.value) == f"{missing}: missing; {toml} has the score other.py:f, so that it must lie beside it"


@pytest.mark.parametrize("linked", [False, True])
def test_no_code_in_a_folder_of_runs_or_masks_is_run(toml: Path, tmp_path: Path, linked: bool) -> None:
    """Also not where the file in one's own folder is a link to one there."""
    run = tmp_path / "run"
    (run / "scores").mkdir(parents=True)
    (run / "competition.json").touch()
    (run / "scores" / "scores.py").write_text(f"open({str(tmp_path / 'was-run')!r}, 'w')")
    if linked:
        (toml.parent / "scores.py").unlink()
        (toml.parent / "scores.py").symlink_to(run / "scores" / "scores.py")
    with pytest.raises(InputError, match=f"is in {run}, a folder of runs or masks, .* no code in it is run; read"):
        read_own_score("scores.py:f", toml if linked else run / "scores" / "roofs.toml")
    assert not (tmp_path / "was-run").exists()


def test_a_toml_file_that_is_a_link_into_a_run_is_refused(toml: Path, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "competition.json").touch()
    toml.symlink_to(tmp_path / "run" / "roofs.toml")
    with pytest.raises(InputError, match=f"^{toml}: is in {tmp_path / 'run'}, a folder of runs or masks"):
        read_own_score("scores.py:recall", toml)


def test_a_score_that_is_only_recorded_says_what_to_give() -> None:
    recorded = OwnScore("scores.py:f", "0" * 64)
    with pytest.raises(InputError, match=r"give --competition FILE\.toml, beside which scores\.py lies"):
        recorded(Overlap(1, 1, 1))


def test_another_process_gets_the_score_without_its_function(toml: Path) -> None:
    score = read_own_score("scores.py:recall", toml)
    there = pickle.loads(pickle.dumps(score))
    assert there == score
    assert there.function is None

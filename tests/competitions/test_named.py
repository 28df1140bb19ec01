import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from known_competitions import CARVANA, SALT

from kaggle_tools import metrics
from kaggle_tools.cli import DEFAULT_SLUG
from kaggle_tools.competitions.competition import Competition
from kaggle_tools.competitions.named import agreed_competition, competition_named, name_of, record, recorded
from kaggle_tools.competitions.toml_file import as_recorded
from kaggle_tools.errors import InputError
from kaggle_tools.metrics import Overlap


def test_a_competition_is_named_by_its_slug_or_its_file(tmp_path: Path) -> None:
    assert competition_named(SALT.slug) is SALT
    assert competition_named(DEFAULT_SLUG) is CARVANA
    with pytest.raises(InputError, match=f"titanic: not known; the known ones are {CARVANA.slug}"):
        competition_named("titanic")
    with pytest.raises(InputError, match=r"roofs\.toml: missing"):
        competition_named(str(tmp_path / "roofs.toml"))


def test_a_folder_of_ours_names_its_competition_for_a_command(tmp_path: Path, tiles: Competition) -> None:
    record(tmp_path, SALT)
    assert name_of(tmp_path, SALT) == SALT.slug
    record(tmp_path, tiles, anew=True)
    assert name_of(tmp_path, tiles) == str(tmp_path / "competition.json")
    assert competition_named(name_of(tmp_path, tiles)) == tiles


class TestAgreed:
    def test_is_the_recorded_one_and_carvana_by_default(self, tmp_path: Path, tiles: Competition) -> None:
        assert agreed_competition(None, {tmp_path: SALT.slug}) is SALT
        assert agreed_competition(None, {}) is CARVANA
        assert agreed_competition(SALT.slug, {}) is SALT
        record(tmp_path, tiles)
        assert agreed_competition(None, {tmp_path: tiles.slug}) == tiles

    def test_folders_of_different_competitions_are_refused(self) -> None:
        both = f"different competitions: a: {CARVANA.slug}; b: {SALT.slug}"
        with pytest.raises(InputError, match=both):
            agreed_competition(None, {Path("a"): CARVANA.slug, Path("b"): SALT.slug})
        with pytest.raises(InputError, match=f"--competition: {SALT.slug}"):
            agreed_competition(SALT.slug, {Path("a"): CARVANA.slug})

    def test_folders_of_one_slug_but_other_fields_are_refused(self, tmp_path: Path, tiles: Competition) -> None:
        for name, first in (("a", 0), ("b", 1)):
            (tmp_path / name).mkdir()
            record(tmp_path / name, replace(tiles, rle_first=first))
        folders = {tmp_path / name: tiles.slug for name in ("a", "b")}
        with pytest.raises(InputError) as caught:
            agreed_competition(None, folders)
        a, b = folders
        assert str(caught.value) == f"{b}: another roof-tiles than that of {a} (rle_first was 0, now 1)"


class TestRecord:
    @pytest.mark.parametrize("competition", [CARVANA, SALT], ids=["Carvana", "Salt"])
    def test_what_a_folder_records_is_the_competition_again(self, competition: Competition, tmp_path: Path) -> None:
        record(tmp_path, competition)
        assert recorded(tmp_path, competition.slug) == competition

    def test_a_folder_of_an_older_version_is_known_by_its_slug(self, tmp_path: Path) -> None:
        assert recorded(tmp_path, SALT.slug) == SALT

    @pytest.mark.parametrize(
        ("change", "said"),
        [
            ({"rle_first": 1}, "rle_first was 0, now 1"),
            ({"score": metrics.dice, "score_name": "Dice"}, "score was IoU, now Dice"),
            ({"photo_size": (10, 20)}, "photo_size was None, now [10, 20]"),
            ({"blank_mask": ""}, "blank_mask was -1, now None"),
        ],
    )
    def test_a_folder_is_not_continued_with_another_competition(
        self, tmp_path: Path, tiles: Competition, change: dict[str, Any], said: str
    ) -> None:
        record(tmp_path, tiles)
        record(tmp_path, tiles)
        with pytest.raises(InputError) as caught:
            record(tmp_path, replace(tiles, **change))
        assert str(caught.value) == f"{tmp_path}: begun with another competition ({said}). Give that, or another --out."
        record(tmp_path, replace(tiles, **change), anew=True)
        assert recorded(tmp_path, tiles.slug) == replace(tiles, **change)

    def test_a_damaged_record_is_refused(self, tmp_path: Path, tiles: Competition) -> None:
        (tmp_path / "competition.json").write_text("{}")
        with pytest.raises(InputError, match=r"competition\.json: damaged \(no slug in it\)"):
            recorded(tmp_path, tiles.slug)

    def test_a_record_of_another_competition_is_refused(self, tmp_path: Path, tiles: Competition) -> None:
        record(tmp_path, tiles)
        with pytest.raises(InputError, match="is about roof-tiles, and the folder about carvana"):
            recorded(tmp_path, CARVANA.slug)


class TestOwnScore:
    @pytest.fixture
    def own(self, tmp_path: Path, tiles: Competition) -> str:
        """A file of a competition with a score of its own, and the folder RUN that records it."""
        (tmp_path / "scores.py").write_text("def half(shared, predicted, truth):\n    return 0 * truth + 0.5\n")
        fields = {**as_recorded(tiles), "score": "scores.py:half"}
        lines = [f"{name} = {json.dumps(value)}" for name, value in fields.items()]
        (tmp_path / "roofs.toml").write_text("\n".join(lines))
        (tmp_path / "run").mkdir()
        record(tmp_path / "run", competition_named(str(tmp_path / "roofs.toml")))
        return str(tmp_path / "roofs.toml")

    def test_what_is_to_be_scored_needs_the_file_again_and_all_else_does_not(self, own: str, tmp_path: Path) -> None:
        folders = {tmp_path / "run": "roof-tiles"}
        with pytest.raises(InputError) as caught:
            agreed_competition(None, folders)
        assert str(caught.value) == (
            f"{tmp_path / 'run'}: the score is scores.py:half, a function of your own, and no code is taken from a "
            "folder of runs or masks; give --competition FILE.toml, beside which scores.py lies"
        )
        assert agreed_competition(None, folders, to_score=False).score_name == "half"
        assert agreed_competition(own, folders).score(Overlap(1, 1, 1)) == 0.5

    def test_code_that_lies_in_the_run_is_not_run(self, own: str, tmp_path: Path) -> None:
        (tmp_path / "run" / "scores.py").write_text(f"open({str(tmp_path / 'was-run')!r}, 'w')")
        agreed_competition(None, {tmp_path / "run": "roof-tiles"}, to_score=False)
        with pytest.raises(InputError, match="give --competition"):
            competition_named(str(tmp_path / "run" / "competition.json"))
        assert not (tmp_path / "was-run").exists()

    def test_a_file_that_was_changed_since_is_named_as_a_difference(self, own: str, tmp_path: Path) -> None:
        with (tmp_path / "scores.py").open("a") as file:
            file.write("# changed\n")
        changed = competition_named(own)
        with pytest.raises(InputError, match=r"begun with another competition \(score_sha256 was [0-9a-f]{64}, now "):
            record(tmp_path / "run", changed)
        with pytest.raises(InputError, match=r"--competition: another roof-tiles than that of .*\(score_sha256 was"):
            agreed_competition(own, {tmp_path / "run": "roof-tiles"})

    def test_commands_name_such_a_competition_by_the_file(self, own: str, tmp_path: Path) -> None:
        assert name_of(tmp_path / "run", competition_named(own)) == own

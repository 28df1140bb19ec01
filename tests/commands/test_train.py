import json
import time
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import typer
from click.testing import Result
from finished_runs import HEIGHT, WIDTH, draw_photos, write_run
from known_competitions import CARVANA, SALT
from little_memory import as_on_a_gpu, limit_memory
from PIL import Image
from typer.testing import CliRunner

from kaggle_tools import cli
from kaggle_tools.commands import train
from kaggle_tools.config.presets import config_from
from kaggle_tools.config.recorded import settings_of
from kaggle_tools.config.training import CONFIG_OPTIONS, TrainingConfig
from kaggle_tools.data.fingerprint import fingerprint_of
from kaggle_tools.data.listing import Photo, training_photos
from kaggle_tools.errors import InputError, OutOfTimeError
from kaggle_tools.options import applied
from kaggle_tools.report import live
from kaggle_tools.results.fold_table import record_files
from kaggle_tools.training import cross_validation
from kaggle_tools.training.plan import batch
from kaggle_tools.training.plan import budget as plan_of_budget


def config_of(preset: str | None = None, config: Path | None = None, **options: Any) -> TrainingConfig:
    """What a command line with these options asks for."""
    return applied(train.initial_config(CARVANA, preset, config), CONFIG_OPTIONS, options)


def test_options_of_train_replace_the_values_of_the_preset() -> None:
    options = {"image_size": "32x48", "batch_size": "6", "init": "runs/a", "lr": 0.5}
    assert config_of(preset="seed", **options) == config_from(
        "seed",
        CARVANA.slug,
        {"image_size": (32, 48), "batch_size": 6, "init": str(Path.cwd() / "runs" / "a"), "lr": 0.5},
    )


def test_paths_are_recorded_from_the_root_on() -> None:
    config = config_of(preset="seed", init="runs/a/../b", extra="preds/a")
    assert (config.init, config.extra) == (str(Path.cwd() / "runs" / "b"), str(Path.cwd() / "preds" / "a"))


def test_image_size_full_replaces_the_size_of_the_preset() -> None:
    assert config_of(preset="seed").image_size == (160, 240)
    assert config_of(preset="seed", image_size="full").image_size is None


@pytest.mark.parametrize("text", ["0", "-2", "four", "1.5"])
def test_an_impossible_batch_size_is_refused(text: str) -> None:
    with pytest.raises(InputError, match=f"--batch-size {text}: must be a whole number above 0, or auto"):
        config_of(batch_size=text)


def test_the_option_tta_scales_takes_numbers_between_commas() -> None:
    config = config_of(preset="seed", tta_scales="0.75,1,1.25")
    assert config == config_from("seed", CARVANA.slug, {"tta_scales": (0.75, 1.0, 1.25)})
    assert config_of(preset="seed").tta_scales == (1.0,)


@pytest.mark.parametrize("text", ["0", "1,", "half"])
def test_impossible_tta_scales_are_refused(text: str) -> None:
    with pytest.raises(InputError, match=f"--tta-scales {text}: must be numbers above 0 with commas between them"):
        config_of(tta_scales=text)


class TestConfigFile:
    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        settings = settings_of(config_from("seed", CARVANA.slug, {"width": 12}))
        (tmp_path / "config.json").write_text(json.dumps({"settings": settings}))
        return tmp_path / "config.json"

    def test_a_config_file_repeats_the_settings_of_its_run(self, path: Path) -> None:
        assert config_of(config=path) == config_from("seed", CARVANA.slug, {"width": 12})

    def test_options_replace_the_settings_of_a_config_file(self, path: Path) -> None:
        config = config_of(config=path, epochs=3)
        assert config == config_from("seed", CARVANA.slug, {"width": 12, "epochs": 3})

    def test_a_config_file_repeats_the_scales_of_its_run(self, path: Path) -> None:
        settings = settings_of(config_from("seed", CARVANA.slug, {"tta_scales": (0.5, 1.0)}))
        path.write_text(json.dumps({"settings": settings}))
        assert config_of(config=path).tta_scales == (0.5, 1.0)

    def test_paths_that_a_config_file_holds_as_they_were_typed_are_those_of_the_folder_at_hand(
        self, path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        settings = settings_of(config_from("seed", CARVANA.slug, {"init": "runs/a"}))
        path.write_text(json.dumps({"settings": settings}))
        monkeypatch.chdir(tmp_path)
        assert config_of(config=path).init == str(tmp_path / "runs" / "a")

    def test_a_preset_beside_a_config_file_is_refused(self, path: Path) -> None:
        with pytest.raises(InputError, match="--preset and --config: give one of them"):
            config_of(config=path, preset="carvana")

    @pytest.mark.parametrize("text", ["{}", '{"settings": 3}'])
    def test_a_damaged_config_file_is_refused(self, path: Path, text: str) -> None:
        path.write_text(text)
        with pytest.raises(InputError, match="config.json: damaged"):
            config_of(config=path)

    def test_a_config_file_of_another_competition_is_refused(self, path: Path) -> None:
        path.write_text(json.dumps({"settings": {"competition": "roof-tiles"}}))
        with pytest.raises(InputError, match=f"config.json: not about --competition {CARVANA.slug}"):
            config_of(config=path)


class TestCommand:
    """What the command hands on to the training, which is left out."""

    @pytest.fixture
    def handed_on(self, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
        """The arguments of the training, once it is called."""
        arguments: list[Any] = []
        monkeypatch.setattr(cross_validation, "train", lambda *given: arguments.extend(given))
        monkeypatch.setattr(batch, "automatic_batch_size", lambda *_: 3)
        return arguments

    def invoke(self, tmp_path: Path, *options: object) -> str:
        draw_photos(tmp_path / "data", [f"{car}_01" for car in "abcd"])
        arguments = ["--data", tmp_path / "data", "--out", tmp_path / "run", "--preset", "demo", "--folds", 2, *options]
        done = CliRunner().invoke(cli.app_of(train.train), list(map(str, arguments)))
        assert done.exit_code == 0, done.exception
        return done.output

    def test_the_time_to_stop_is_so_many_hours_after_the_start(self, tmp_path: Path, handed_on: list[Any]) -> None:
        before = time.monotonic()
        self.invoke(tmp_path, "--max-hours", 1.5)
        assert before + 5400 <= handed_on[3] <= time.monotonic() + 5400

    def test_without_a_limit_there_is_no_time_to_stop(self, tmp_path: Path, handed_on: list[Any]) -> None:
        self.invoke(tmp_path)
        assert handed_on[3] is None

    @pytest.mark.parametrize(("given", "used"), [("auto", 3), ("5", 5)])
    def test_the_batch_size_is_found_only_where_it_is_left_to_the_command(
        self, tmp_path: Path, handed_on: list[Any], given: str, used: int
    ) -> None:
        self.invoke(tmp_path, "--batch-size", given)
        assert handed_on[0].config.batch_size == used
        assert json.loads((tmp_path / "run" / "config.json").read_text())["settings"]["batch_size"] == used

    @pytest.mark.parametrize(("given", "trained"), [([], [0, 1]), (["--fold", 1, "--fold", 1], [1])])
    def test_folds_are_trained_once_each_and_all_by_default(
        self, tmp_path: Path, handed_on: list[Any], given: list[object], trained: list[int]
    ) -> None:
        self.invoke(tmp_path, *given)
        assert handed_on[1] == trained

    @pytest.mark.parametrize(("given", "held_out"), [([], [3, 1]), (["--fold", 1], [1])])
    def test_a_budget_knows_how_many_photos_each_chosen_fold_holds_out(
        self,
        tmp_path: Path,
        handed_on: list[Any],
        monkeypatch: pytest.MonkeyPatch,
        given: list[object],
        held_out: list[int],
    ) -> None:
        asked: list[Any] = []
        monkeypatch.setattr(plan_of_budget, "settings_within", lambda *all_: (asked.extend(all_), all_[4])[1])
        (tmp_path / "run").mkdir()
        rows = ["image,group,fold", "a_01,a,0", "b_01,b,0", "c_01,c,1", "d_01,d,0"]
        (tmp_path / "run" / "folds.csv").write_text("\n".join(rows))
        self.invoke(tmp_path, "--budget", "5m", "--epochs", 4, *given)
        assert (asked[0].seconds, asked[0].planned, asked[-1]) == (300, ["image_size", "early_sizes"], held_out)
        assert handed_on[0].is_timed

    def test_groups_are_called_as_on_the_page(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        write_run(tmp_path / "run", tmp_path / "data", {0: {"a_01": (3, 0), "b_01": (0, 0)}})
        train.print_summary(tmp_path / "run", CARVANA)
        train.print_summary(tmp_path / "run", SALT)
        cars, singles = [line for line in capsys.readouterr().out.splitlines() if "held-out" in line]
        assert cars == f"{tmp_path / 'run'}: 2 held-out photos of 2 cars at their own size"
        assert singles == f"{tmp_path / 'run'}: 2 held-out photos at their own size"

    @pytest.mark.parametrize(("given", "pages"), [([], 1), (["--no-report"], 0)])
    def test_a_page_is_written_while_folds_are_trained_unless_none_is_wanted(
        self,
        tmp_path: Path,
        handed_on: list[Any],
        given: list[object],
        pages: int,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        written: list[object] = []
        monkeypatch.setattr(live, "page_while_training", lambda *run: nullcontext(written.append(run)))
        self.invoke(tmp_path, *given)
        assert written == [(tmp_path / "run", CARVANA.slug, [0, 1])] * pages
        monkeypatch.setenv("LOCAL_RANK", "1")
        self.invoke(tmp_path, *given)
        assert len(written) == pages

    def test_a_training_stopped_before_a_fold_is_finished_leaves_a_page_that_says_how_far_it_is(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def one_epoch(*_: object) -> None:
            fold = tmp_path / "run" / "fold0"
            fold.mkdir()
            (fold / "metrics.csv").write_text("epoch,lr,train_loss,val_loss,val_dice,val_iou\n0,1,1,1,0.5,0.4\n")
            raise OutOfTimeError("stopped")

        monkeypatch.setattr(cross_validation, "train", one_epoch)
        with pytest.raises(AssertionError, match="stopped"):
            self.invoke(tmp_path)
        page = (tmp_path / "run" / "report.html").read_text()
        assert "Not being trained" in page
        assert "0 of 2 folds finished" in page

    @pytest.mark.usefixtures("handed_on")
    def test_before_a_fold_is_finished_there_is_neither_a_summary_nor_a_page(self, tmp_path: Path) -> None:
        assert "held-out photos" not in self.invoke(tmp_path)
        assert not {"summary.json", "report.html"} & {path.name for path in (tmp_path / "run").iterdir()}


class TestLookingAtTrueMasks:
    STEMS = ("a_01", "a_02", "b_01")

    @pytest.fixture
    def photos(self, tmp_path: Path) -> list[Photo]:
        draw_photos(tmp_path / "data", [*self.STEMS])
        return training_photos(CARVANA, tmp_path / "data")

    def test_the_mean_coverage_of_the_true_masks_is_printed(
        self, tmp_path: Path, photos: list[Photo], capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert train.look_at_new(tmp_path / "run", photos, CARVANA) == fingerprint_of(photos)
        printed = capsys.readouterr()
        assert "true masks cover 11.1% of their photos on average\n" in printed.out  # 20x30 of 60x90 pixels
        assert printed.err == ""

    def test_what_a_person_should_look_at_is_a_warning(
        self, tmp_path: Path, photos: list[Photo], capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert photos[1].mask
        Image.new("L", (WIDTH, HEIGHT)).save(photos[1].mask)
        train.look_at_new(tmp_path / "run", photos, CARVANA)
        assert capsys.readouterr().err == "warning: 1 of 3 masks is blank: a_02_mask.gif\n"

    @pytest.mark.parametrize(
        ("size", "warned"), [((HEIGHT, WIDTH), False), ((WIDTH, HEIGHT), True), ((1280, 1918), False)]
    )
    def test_sides_of_photos_that_are_exchanged_in_the_competitions_file_are_a_warning(
        self,
        tmp_path: Path,
        photos: list[Photo],
        capsys: pytest.CaptureFixture[str],
        size: tuple[int, int],
        warned: bool,
    ) -> None:
        """Photos of another size, such as a smaller copy of them, are none."""
        train.look_at_new(tmp_path / "run", photos, replace(CARVANA, photo_size=size))
        told = f"photos of Carvana Image Masking are {HEIGHT} pixels high: exchange the sides in photo_size"
        assert (told in capsys.readouterr().err) == warned

    def test_files_that_the_run_has_recorded_are_not_looked_at_again(
        self, tmp_path: Path, photos: list[Photo], capsys: pytest.CaptureFixture[str]
    ) -> None:
        files = train.look_at_new(tmp_path / "run", photos, CARVANA)
        assert files is not None
        record_files(tmp_path / "run", files)
        capsys.readouterr()
        assert train.look_at_new(tmp_path / "run", photos, CARVANA) is None
        assert capsys.readouterr().out == ""

    def test_a_training_whose_true_masks_are_all_blank_is_refused_before_the_run_is_begun(
        self, tmp_path: Path, photos: list[Photo]
    ) -> None:
        for photo in photos:
            assert photo.mask
            Image.new("L", (WIDTH, HEIGHT)).save(photo.mask)
        options = ["--data", tmp_path / "data", "--out", tmp_path / "run", "--folds", "2", "--image-size", "16x16"]
        error = CliRunner().invoke(cli.app_of(train.train), [*map(str, options)]).exception
        assert isinstance(error, InputError)
        assert str(error).startswith("all 3 true masks are blank: a_01_mask.gif, a_02_mask.gif, b_01_mask.gif; ")
        assert not (tmp_path / "run").exists()

    def test_a_folder_that_is_not_the_trainings_own_is_refused_before_photos_are_looked_at(
        self, tmp_path: Path, photos: list[Photo]
    ) -> None:
        photos[0].path.write_bytes(photos[0].path.read_bytes()[:-100])  # which the look at all photos would name
        options = ["--data", tmp_path / "data", "--out", tmp_path / "data", "--folds", "2", "--image-size", "16x16"]
        error = CliRunner().invoke(cli.app_of(train.train), [*map(str, options)]).exception
        assert isinstance(error, InputError)
        assert str(error) == f"--out {tmp_path / 'data'}: holds the photos; give a folder of its own"

    def test_a_cache_that_cannot_be_used_is_refused_before_photos_are_looked_at(
        self, tmp_path: Path, photos: list[Photo]
    ) -> None:
        photos[0].path.write_bytes(photos[0].path.read_bytes()[:-100])
        options = ["--data", tmp_path / "data", "--out", tmp_path / "run", "--folds", "2", "--image-size", "16x16"]
        for cache, message in {
            photos[0].path: "is a file; give a folder",
            photos[0].path.parent: "holds other things, such as a_01.jpg; give a folder of its own",
        }.items():
            error = CliRunner().invoke(cli.app_of(train.train), [*map(str, options), "--cache", str(cache)]).exception
            assert isinstance(error, InputError)
            assert str(error) == f"--cache {cache}: {message}"
        assert not (tmp_path / "run").exists()

    @pytest.mark.parametrize("option", ["--cache", "--init", "--extra"])
    def test_an_empty_path_is_refused(self, option: str, tmp_path: Path) -> None:
        options = ["--data", str(tmp_path / "data"), "--out", str(tmp_path / "run"), option, ""]
        error = CliRunner().invoke(cli.app_of(train.train), options).exception
        assert str(error) == f"{option}: empty; give a value"


class TestMemoryOfTheGpu:
    """It holds two photos of the training at once: injected into a real training on the processor."""

    OPTIONS = ("--preset", "demo", "--width", 2, "--depth", 1, "--image-size", "16x32", "--epochs", 2, "--folds", 2)
    WARNING = (
        "warning: 8 photos do not fit into the GPU's memory: --batch-size 2 --accumulate 4 is taken. "
        "As many photos make a gradient step"
    )

    @pytest.fixture(autouse=True)
    def tried(self, monkeypatch: pytest.MonkeyPatch) -> list[int]:
        as_on_a_gpu(monkeypatch)
        return limit_memory(monkeypatch, 2 * 16 * 32)

    def train(self, tmp_path: Path, *options: object) -> Result:
        app = typer.Typer()
        app.command()(train.train)
        words = ["--data", tmp_path / "data", "--out", tmp_path / "run", *self.OPTIONS, "--workers", 0, "--fold", 0]
        return CliRunner().invoke(app, [str(word) for word in (*words, "--no-report", *options)])

    def recorded(self, tmp_path: Path) -> dict[str, Any]:
        settings: dict[str, Any] = json.loads((tmp_path / "run" / "config.json").read_text())["settings"]
        return settings

    def test_a_training_whose_batch_does_not_fit_goes_on_with_a_smaller_one_and_as_many_photos_a_step(
        self, tmp_path: Path
    ) -> None:
        draw_photos(tmp_path / "data", [f"{car}_{view:02}" for car in "abcd" for view in range(1, 9)])
        first = self.train(tmp_path)
        assert first.exit_code == 0, first.output
        assert self.WARNING in first.stderr
        settings = self.recorded(tmp_path)
        assert (settings["batch_size"], settings["accumulate"]) == (2, 4)
        steps = (tmp_path / "run" / "fold0" / "metrics.csv").read_text().splitlines()
        assert [row.split(",")[1] for row in steps[1:]] == ["2", "4"]  # of 16 photos: two of eight an epoch
        (tmp_path / "run" / "fold0" / "oof.csv").unlink()
        again = self.train(tmp_path)
        assert (again.exit_code, "do not fit" in again.stderr) == (0, False)
        assert "fold 0: 16 photos to train on" in again.stdout

    def test_a_batch_that_fits_is_taken_as_it_is(self, tmp_path: Path) -> None:
        draw_photos(tmp_path / "data", [f"{car}_{view:02}" for car in "abcd" for view in (1, 2)])
        done = self.train(tmp_path, "--batch-size", 2)
        assert (done.exit_code, "do not fit" in done.stderr) == (0, False)
        assert self.recorded(tmp_path)["accumulate"] == 1

    def test_another_process_of_the_same_training_takes_what_the_first_one_found(
        self, tmp_path: Path, tried: list[int], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        draw_photos(tmp_path / "data", [f"{car}_{view:02}" for car in "abcd" for view in (1, 2)])
        configs = []
        monkeypatch.setattr(cross_validation, "train", lambda work, *_: configs.append(work.config))
        self.train(tmp_path)
        assert tried == [4, 2, 2]  # of eight photos four are trained on
        monkeypatch.setenv("LOCAL_RANK", "1")
        self.train(tmp_path)
        assert tried == [4, 2, 2]
        assert configs[0] == configs[1]
        assert (configs[0].batch_size, configs[0].accumulate) == (2, 2)


def test_a_budget_beside_further_photos_is_refused(tmp_path: Path) -> None:
    arguments = ["--data", tmp_path, "--out", tmp_path / "run", "--extra", tmp_path / "pred", "--budget", "5m"]
    error = CliRunner().invoke(cli.app_of(train.train), list(map(str, arguments))).exception
    assert str(error) == "--budget and --extra: give one of them; the time of further photos is not planned"


def test_a_budget_beside_a_config_file_is_refused(tmp_path: Path) -> None:
    arguments = ["--data", tmp_path, "--out", tmp_path / "run", "--config", tmp_path / "config.json", "--budget", "5m"]
    error = CliRunner().invoke(cli.app_of(train.train), list(map(str, arguments))).exception
    assert str(error) == "--budget and --config: give one of them; the file says which sizes and epochs"

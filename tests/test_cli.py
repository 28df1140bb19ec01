from pathlib import Path

import cv2
import pytest
import torch
import typer

from kaggle_tools import cli
from kaggle_tools.errors import InputError, OutOfTimeError


def outcome_of(failure: Exception | None, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> tuple:
    app = cli.new_app()

    @app.command()
    def command() -> None:
        if failure:
            raise failure

    monkeypatch.setattr("sys.argv", ["command"])
    with pytest.raises(SystemExit) as ended:
        cli.run(app)
    return ended.value.code, capsys.readouterr().err


def test_a_command_that_succeeds_exits_with_0(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert outcome_of(None, capsys, monkeypatch) == (0, "")


@pytest.mark.parametrize("failure", [InputError("repair this"), OSError("repair this")])
def test_an_error_of_input_is_one_line_and_exit_code_1(
    failure: Exception, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert outcome_of(failure, capsys, monkeypatch) == (1, "error: repair this\n")


@pytest.mark.parametrize(
    "failure",
    [
        MemoryError("Unable to allocate 8.00 TiB"),
        RuntimeError("enforce fail at alloc_cpu.cpp:1\nDefaultCPUAllocator: can't allocate memory: 8 bytes."),
        RuntimeError("Caught RuntimeError in DataLoader worker process 0.\nDefaultCPUAllocator: can't allocate memory"),
        cv2.error("OpenCV(5.0.0) alloc.cpp:73: error: (-4:Insufficient memory) Failed to allocate 8 bytes"),
    ],
    ids=["NumPy", "torch", "in a worker", "OpenCV"],
)
def test_want_of_main_memory_is_one_line_and_exit_code_1(
    failure: Exception, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    last_line = str(failure).rpartition("\n")[2]
    assert outcome_of(failure, capsys, monkeypatch) == (1, f"error: {cli.NO_MEMORY} ({last_line})\n")


def test_arguments_and_a_working_folder_that_are_not_utf8_are_refused_at_the_start(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def said(*arguments: str) -> tuple[object, str]:
        app = typer.Typer()
        app.command()(lambda out: print("begun", out))
        monkeypatch.setattr("sys.argv", ["command", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.run(app)
        return ended.value.code, capsys.readouterr().err

    advice = "is not UTF-8, so that no table and no record can hold it; rename it"
    assert said("pred\udcff") == (1, f"error: 'pred\\udcff': {advice}\n")
    folder = tmp_path / "data\udcff"
    folder.mkdir()
    monkeypatch.chdir(folder)
    assert said("pred") == (1, f"error: '{tmp_path}/data\\udcff': {advice}\n")
    assert said("--help")[0] == 0
    monkeypatch.chdir(tmp_path)
    assert said("pred") == (0, "")


def test_an_unexpected_exception_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    app = typer.Typer()

    @app.command()
    def command() -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("sys.argv", ["command"])
    with pytest.raises(ZeroDivisionError):
        cli.run(app)


def test_a_command_that_runs_out_of_time_exits_with_75(capsys: pytest.CaptureFixture[str]) -> None:
    def stop() -> None:
        raise OutOfTimeError("stopped after 2 of 3 epochs")

    with pytest.raises(SystemExit) as ended:
        cli.run(stop)  # type: ignore[arg-type]
    assert ended.value.code == 75
    assert capsys.readouterr().err == "stopped after 2 of 3 epochs\n"


def test_that_the_gpu_is_full_is_one_message_wherever_it_is_noticed(capsys: pytest.CaptureFixture[str]) -> None:
    def full() -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 MiB.")

    with pytest.raises(SystemExit) as ended:
        cli.run(full)  # type: ignore[arg-type]
    assert ended.value.code == 1
    assert capsys.readouterr().err == (
        "error: out of memory on the GPU; does another program use it? The same command continues "
        "(CUDA out of memory. Tried to allocate 2.00 MiB.)\n"
    )


def test_of_several_processes_only_the_first_says_that_time_is_over(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lightning would kill the first one if another process seemed to fail."""

    def stop() -> None:
        raise OutOfTimeError("stopped")

    monkeypatch.setenv("LOCAL_RANK", "1")
    with pytest.raises(SystemExit) as ended:
        cli.run(stop)  # type: ignore[arg-type]
    assert ended.value.code == 0
    assert capsys.readouterr().err == ""


def test_ctrl_c_ends_a_command_with_a_message_and_exit_code_130(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    app = cli.new_app()

    @app.command()
    def stop() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("sys.argv", ["stop"])
    with pytest.raises(SystemExit) as ended:
        cli.run(app)
    assert ended.value.code == 130
    assert capsys.readouterr().err.strip() == "interrupted; the same command continues from here"


@pytest.mark.parametrize("message", ["DataLoader worker (pid 7) is killed by signal: Terminated. ", "another"])
def test_a_killed_loader_is_one_line_and_other_runtime_errors_keep_their_traceback(
    message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def stop() -> None:
        raise RuntimeError(message)

    with pytest.raises(RuntimeError if message == "another" else SystemExit) as ended:
        cli.run(stop)  # type: ignore[arg-type]
    assert ("error: DataLoader worker" in capsys.readouterr().err) == (message != "another")
    assert getattr(ended.value, "code", 1) == 1


class TestPage:
    def test_the_path_of_a_written_page_is_printed(self, capsys: pytest.CaptureFixture[str]) -> None:
        cli.finish_with_page(lambda: Path("run/report.html"), "again")
        assert capsys.readouterr() == ("page: run/report.html\n", "")

    @pytest.mark.parametrize("error", [InputError("run: damaged"), OSError(28, "No space left on device")])
    def test_a_page_that_cannot_be_written_is_only_a_warning(
        self, capsys: pytest.CaptureFixture[str], error: Exception
    ) -> None:
        def fail() -> Path:
            raise error

        cli.finish_with_page(fail, "report run")
        assert capsys.readouterr().err == f"warning: no page was written: {error}\n`report run` tries it again\n"

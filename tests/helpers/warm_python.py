"""Commands as processes that start at once, because their libraries are loaded already.

A server, started once in a session, imports the libraries that the commands use, and forks a process for each command.
That process is a real one: it has arguments, a working folder, an environment, output and an exit code of its own, ends
as any Python does, and can be killed. The server loads nothing of ours: each command imports that as from a shell.

It cannot show what a fresh interpreter imports, nor what depends on the seed of its hashes: tests of that start one.
"""

import atexit
import gc
import importlib
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
import traceback
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import IO, Any, NamedTuple, Self

ROOT = Path(__file__).resolve().parents[2]

LIBRARIES = (
    "albumentations",
    "lightning.pytorch",
    "matplotlib.backends.backend_svg",
    "pandas",
    "requests",
    "rich.progress",
    "scipy.stats",
    "segmentation_models_pytorch",
    "sklearn.model_selection",
    "torch.utils.tensorboard",
    "typer",
)


class Done(NamedTuple):
    """How a command ended."""

    returncode: int
    stdout: str
    stderr: str


class Process:
    """A command in a process of its own; as much of `subprocess.Popen` as the tests need."""

    def __init__(self, *command: object, stdout: IO[Any] | None = None, stderr: IO[Any] | None = None) -> None:
        """Start `train.py …` or `-m module …` in the root of the repository; what it prints is lost by default."""
        self.returncode: int | None = None
        order = json.dumps({"command": [str(word) for word in command], "environment": dict(os.environ)})
        self._news, theirs = socket.socketpair()
        with theirs, Path(os.devnull).open("wb") as nowhere:
            streams = [(stream or nowhere).fileno() for stream in (stdout, stderr)]
            socket.send_fds(_server(), [order.encode()], [theirs.fileno(), *streams])
        self.pid = _number(self._news)

    def poll(self) -> int | None:
        """The exit code, or None while the command runs."""
        try:
            return self.wait(0)
        except subprocess.TimeoutExpired:
            return None

    def wait(self, timeout: float | None = None) -> int:
        """The exit code, or minus the number of the signal that ended the command.

        Raises:
            subprocess.TimeoutExpired: it still runs after so many seconds.
        """
        if self.returncode is None:
            self._news.settimeout(timeout)
            try:
                self.returncode = _number(self._news)
            except (TimeoutError, BlockingIOError):
                raise subprocess.TimeoutExpired(f"process {self.pid}", timeout or 0) from None
        return self.returncode

    def kill(self) -> None:
        """End the command without asking it, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, signal.SIGKILL)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self.kill()
        self.wait()
        self._news.close()


def run(*command: object) -> Done:
    """Run `train.py …` or `-m module …` to its end."""
    with tempfile.TemporaryFile("w+") as stdout, tempfile.TemporaryFile("w+") as stderr:
        with Process(*command, stdout=stdout, stderr=stderr) as process:
            code = process.wait()
        texts = []
        for stream in (stdout, stderr):
            stream.seek(0)
            texts.append(stream.read())
    return Done(code, *texts)


@cache
def _server() -> socket.socket:
    """The socket on which the server, which this starts, takes orders; it ends when this side of the socket does."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        process = subprocess.Popen([sys.executable, __file__], stdin=theirs, stdout=subprocess.DEVNULL, cwd=ROOT)
    atexit.register(_end, ours, process)
    return ours


def _end(server: socket.socket, process: "subprocess.Popen[bytes]") -> None:
    server.close()
    process.wait()


def _number(news: socket.socket) -> int:
    told = news.recv(4)
    if len(told) < 4:
        raise RuntimeError("the server of tests/helpers/warm_python.py has ended: its message is above")
    return int.from_bytes(told, "big", signed=True)


def _serve() -> None:
    """Fork a process for each order. It is that process that returns, and then is the command."""
    os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"  # else it asks the internet for a newer version at import
    for library in LIBRARIES:
        importlib.import_module(library)
    gc.freeze()  # the processes share these objects; their collectors need not visit them
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the tests; the server ends after them
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for those that wait for the commands
    with socket.socket(fileno=0) as orders:
        while True:
            order, handles, _, _ = socket.recv_fds(orders, 1 << 20, 3)
            if not order:
                os._exit(0)
            if os.fork() == 0:
                break
            for handle in handles:
                os.close(handle)
    _become(json.loads(order), *handles)


def _become(order: dict[str, Any], news: int, stdout: int, stderr: int) -> None:
    """Fork once more: the child is the command, and its parent tells how it ended."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    pid = os.fork()
    if pid:
        os.close(stdout)
        os.close(stderr)
        os.write(news, pid.to_bytes(4, "big", signed=True))
        _, status = os.waitpid(pid, 0)
        os.write(news, os.waitstatus_to_exitcode(status).to_bytes(4, "big", signed=True))
        os._exit(0)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.open(os.devnull, os.O_RDONLY)  # as 0, which the orders came from and which is closed
    os.dup2(stdout, 1)
    os.dup2(stderr, 2)
    for handle in (news, stdout, stderr):
        os.close(handle)
    os.environ.clear()
    os.environ.update(order["environment"])
    _execute(order["command"])


def _execute(command: list[str]) -> None:
    """Run a script or a module as Python does that is given this command line, up to its end.

    Only what takes seconds at the end of a large process, and nobody sees, is left out: to free each object.
    """
    import numpy as np

    np.random.seed()  # as no two processes have the same
    code: str | int = 0
    try:
        if command[0] == "-m":
            sys.argv, sys.path[0] = command[1:], str(Path.cwd())
            runpy.run_module(command[1], run_name="__main__", alter_sys=True)
        else:
            sys.argv, sys.path[0] = command, str(Path(command[0]).resolve().parent)
            runpy.run_path(command[0], run_name="__main__")
    except SystemExit as end:
        code = end.code or 0
        if not isinstance(code, int):
            print(code, file=sys.stderr)
            code = 1
    except BaseException:
        traceback.print_exc()
        code = 1
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    _serve()

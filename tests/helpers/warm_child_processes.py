"""Child processes for calls to Kaggle that start at once, because the libraries of the `kaggle` package are loaded.

A new interpreter takes most of a second to import `kaggle`, and some tests start ten of them. Here a server, started
once in a session, has imported those libraries, and forks a process for each call. What the client starts in place of a
new interpreter is this file, run by a bare one: it hands its streams, arguments and environment to the server, and ends
when the forked process does. That process imports the `kaggle` package itself anew, as it reads the environment when
it is imported, and runs the same `child_process`; it ends when the client closes its stdin, as always.
"""

import io
import json
import os
import socket
import subprocess
import sys
from contextlib import redirect_stdout
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


class WarmChildProcesses:
    """The server, until `close`."""

    def __init__(self, address: Path) -> None:
        """Start it; it listens on the Unix socket `address`."""
        self.command = (sys.executable, "-I", "-S", __file__, str(address))
        """What the client is to start in place of a new interpreter."""
        to_serve = [sys.executable, "-c", f"import warm_child_processes; warm_child_processes.serve({str(address)!r})"]
        paths = os.pathsep.join([str(ROOT), str(Path(__file__).parent)])
        environment = {"PATH": os.environ["PATH"], "HOME": str(address.parent), "PYTHONPATH": paths}  # no credentials
        self._server = subprocess.Popen(to_serve, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self._server.stdout
        assert self._server.stdout.readline() == b"listening\n"

    def close(self) -> None:
        """End the server, by closing its stdin."""
        self._server.communicate()


def serve(address: str) -> None:
    """Fork a process for each call, until stdin closes."""
    import select
    import signal

    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the forked processes
    _import_libraries()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address)
        listener.listen(64)
        print("listening", flush=True)
        while listener in select.select([listener, 0], [], [])[0]:
            call, _ = listener.accept()
            with call:
                if os.fork() == 0:
                    listener.close()
                    _answer(call)


def _import_libraries() -> None:
    with redirect_stdout(io.StringIO()):
        import kaggle  # noqa: F401

    for name in [name for name in sys.modules if name.partition(".")[0] == "kaggle"]:
        del sys.modules[name]


def _answer(call: socket.socket) -> None:
    """Become the child process of this call, and say at its end that all went well."""
    import runpy
    import signal

    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    message, streams, _, _ = socket.recv_fds(call, 1 << 20, 3)
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    request, environment, folder = json.loads(message)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = ["child_process", request]
    try:
        runpy.run_module("kaggle_tools.kaggle_api.child_process", run_name="__main__", alter_sys=True)
    finally:
        sys.stdout.flush()
        call.close()
        os._exit(0)


def _hand_over(address: str, request: str) -> None:
    """Have the server do the work, and end when it is done."""
    with socket.socket(socket.AF_UNIX) as call:
        call.connect(address)
        message = json.dumps([request, dict(os.environ), os.getcwd()]).encode()  # noqa: PTH109 (pathlib is slow to import)
        socket.send_fds(call, [message], [0, 1, 2])
        for stream in (0, 1):  # the forked process alone holds them now
            os.close(stream)
        call.recv(1)


if __name__ == "__main__":
    _hand_over(*sys.argv[1:])

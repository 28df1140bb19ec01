"""Time for the client of Kaggle that passes at once while it pauses, and while the server is silent.

The bounds stay those of real use, a busy machine does not exceed them, and no test sits them out.
"""

import os
import subprocess
import time
from collections.abc import Callable

from kaggle_server import KaggleServer

from kaggle_tools.kaggle_api import client

STARVED_SECONDS = 5000.0
"""How long the start of each child process takes on a machine that is far too busy: more than all limits."""
LOOK_SECONDS = 0.02
"""How often to look whether the server has fallen silent."""

_read = os.read


class VirtualTime:
    """Takes the place of the module `time`, and of the client's waiting for its child process."""

    def __init__(self, server: KaggleServer) -> None:
        """Time that passes at once while this server is silent."""
        self.server = server
        self.pauses: list[float] = []
        """Those that the client has made, in seconds."""
        self.skipped = 0.0
        """Seconds that have passed at once."""

    def monotonic(self) -> float:
        """As `time.monotonic`."""
        return time.monotonic() + self.skipped

    def sleep(self, seconds: float) -> None:
        """As `time.sleep`."""
        self.pauses.append(seconds)
        self.skipped += seconds

    def read_late(self, handle: int, size: int) -> bytes:
        """As `os.read`; but until the first character comes, by which a child process says that it is ready, much
        time passes: far more than any call may take.
        """
        if size == 1:
            self.skipped += STARVED_SECONDS
        return _read(handle, size)

    def output(self, child: subprocess.Popen[str], seconds: float, progress: Callable[[], int]) -> str:
        """As `client._output`, of a child that makes no progress: its time is up once the server is silent."""
        silences = self.server.silences
        start = client._start_of_output(child)
        end = time.monotonic() + seconds
        while True:
            try:
                return start + child.communicate(timeout=LOOK_SECONDS)[0]
            except subprocess.TimeoutExpired:
                if self.server.silences > silences:
                    self.skipped += max(0.0, end - time.monotonic())
                elif time.monotonic() < end:
                    continue
                raise

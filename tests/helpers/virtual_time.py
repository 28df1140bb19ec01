"""Time for the client of Kaggle that passes at once while it pauses, and while the server is silent.

The bounds stay those of real use, a busy machine does not exceed them, and no test sits them out.
"""

import subprocess
import time
from collections.abc import Callable

from kaggle_server import KaggleServer

from kaggle_tools.kaggle_api import client

LOOK_SECONDS = 0.02
"""How often to look whether the server has fallen silent."""


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

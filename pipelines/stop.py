"""Stop: a run that is asked to end, ends in order.

On SIGTERM or Ctrl-C nothing new is started and what is in flight may finish for a while, so that its work is not lost; asked a second
time, the run ends at once. Either way what is committed stays, and the same command resumes.
"""

import signal
import threading
import time
from types import FrameType, TracebackType
from typing import Any

# Cluster managers kill half a minute after they have asked.
DRAIN_SECONDS = 20.0


class Stop:
    """While the context is open, the signals are ours. Only the main thread can hear them; elsewhere nothing changes."""

    def __init__(self) -> None:
        self._asked_at = 0.0
        self.signal = ""
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "Stop":
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                self._before[number] = signal.signal(number, self._hear)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _hear(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002  what Python hands over
        if self.signal:
            raise KeyboardInterrupt
        self.signal = signal.Signals(number).name
        self._asked_at = time.monotonic()

    @property
    def asked(self) -> bool:
        """Whether to start nothing more."""
        return bool(self.signal)

    @property
    def overdue(self) -> bool:
        """Whether to wait no longer for what is in flight."""
        return self.asked and time.monotonic() - self._asked_at > DRAIN_SECONDS

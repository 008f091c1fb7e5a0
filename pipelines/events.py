"""Events: what a run did, task by task, and how it stands, for those who look from another shell.

OUT/run.jsonl       one line per event: begun, task, died, waiting, ended; appended by the driver, so the last line is where it is
OUT/work/status.json   how the run stands, rewritten every few seconds; `vl3-curate status OUT` prints it
"""

import json
import os
import socket
import time
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from curation.uris import atomic, is_remote

STATUS_SECONDS = 3.0
# A driver that did not say anything for so long is taken for dead.
SILENT_SECONDS = 60.0


class Events:
    """Appends to run.jsonl and keeps status.json fresh. In a store, which cannot append, the events go up with the status."""

    def __init__(self, out: Path) -> None:
        self._path, self._status = out / "run.jsonl", out / "work" / "status.json"
        self._remote = is_remote(str(out))
        self._lines: list[str] = []
        self._said = 0.0
        self._file: IO[str] | None = None
        if self._remote:
            self._lines = _lines(self._path)
        else:
            out.mkdir(parents=True, exist_ok=True)
            self._file = self._path.open("a", encoding="utf-8", buffering=1)

    def add(self, event: str, **facts: Any) -> None:
        """One event, now. A full disk or a lost store never ends a run here: the commits meet the same fault."""
        line = json.dumps({"time": round(time.time(), 3), "event": event, **facts}, ensure_ascii=False)
        if self._file is None:
            self._lines.append(line)
            return
        with suppress(OSError):
            self._file.write(line + "\n")

    def say(self, state: dict[str, Any], *, now: bool = False) -> None:
        """How the run stands; written when it is time, or `now`."""
        if not now and time.monotonic() - self._said < STATUS_SECONDS:
            return
        self._said = time.monotonic()
        who = {"process": os.getpid(), "host": socket.gethostname(), "time": time.time()}
        try:
            with atomic(self._status, durable=False) as temporary:
                temporary.write_text(json.dumps({**who, **state}, ensure_ascii=False), encoding="utf-8")
            if self._remote:
                with atomic(self._path) as temporary:
                    temporary.write_text("\n".join(self._lines) + "\n", encoding="utf-8")
        except OSError:
            return  # as above

    def close(self) -> None:
        """The run ended."""
        if self._file is not None:
            with suppress(OSError):
                self._file.close()


def read_status(out: Path) -> dict[str, Any]:
    """The last state that a run of OUT told, with `silent`: seconds since then.

    Raises:
        FileNotFoundError: no run ever wrote there.
    """
    path = out / "work" / "status.json"
    if not path.is_file():
        raise FileNotFoundError(f"{path}: not there: no run of this version has written to {out}")
    state = json.loads(path.read_text(encoding="utf-8"))
    return {**state, "silent": max(0.0, time.time() - state["time"])}


def last_events(out: Path, number: int) -> list[dict[str, Any]]:
    """The last events of a run, oldest first."""
    return [json.loads(line) for line in _lines(out / "run.jsonl")[-number:]]


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines() if path.is_file() else []

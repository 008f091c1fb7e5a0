"""Lock: one driver to an output directory; a second one is told who is there.

On disk the lock is the operating system's, which a dead process loses at once. In a store it is an object that its holder renews every
few seconds; one that was not renewed for `STALE_SECONDS` belongs to nobody. Two drivers could do no harm anyway, since commits are by
content; they would only do the work twice.
"""

import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from curation.operator import OperatorError
from curation.uris import atomic, is_remote, stat_uri

RENEW_SECONDS = 5.0
STALE_SECONDS = 20.0


@contextmanager
def only_driver(root: Path) -> Iterator[None]:
    """Hold OUT for one driver.

    Raises:
        OperatorError: another driver holds it, with its host and process.
    """
    path = root / "work" / "driver.lock"
    with _lock_object(path) if is_remote(str(root)) else _lock_file(path):
        yield


def _refuse(path: Path, holder: str) -> OperatorError:
    return OperatorError(
        f"{path.parent.parent}: another run writes here ({holder}): wait for it, or take another --out"
    )


def _me() -> str:
    return f"process {os.getpid()} on {socket.gethostname()} since {time.strftime('%Y-%m-%d %H:%M:%S')}"


@contextmanager
def _lock_file(path: Path) -> Iterator[None]:
    import fcntl

    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.seek(0)
            raise _refuse(path, file.read().strip()) from None
        file.truncate(0)
        file.write(_me())
        file.flush()
        yield


@contextmanager
def _lock_object(path: Path, *, renew: float = RENEW_SECONDS, stale: float = STALE_SECONDS) -> Iterator[None]:
    token, me, over = uuid.uuid4().hex, _me(), threading.Event()
    if holder := _holder(path, renew=renew, stale=stale):
        raise _refuse(path, holder)

    def write(beat: int) -> None:
        with atomic(path) as temporary:
            temporary.write_text(json.dumps({"holder": me, "token": token, "beat": beat}))

    def keep() -> None:
        beat = 0
        while not over.wait(renew):
            beat += 1
            try:
                write(beat)
            except OSError:
                continue  # the store stumbles: the next beat may go through

    write(0)
    if json.loads(path.read_text())["token"] != token:  # both wrote at once: the last one stays
        raise _refuse(path, json.loads(path.read_text())["holder"])
    keeper = threading.Thread(target=keep, daemon=True)
    keeper.start()
    try:
        yield
    finally:
        over.set()
        keeper.join()
        path.unlink(missing_ok=True)


def _holder(path: Path, *, renew: float, stale: float) -> str:
    """Who holds the lock object; "" when nobody does. Watches it change rather than compare clocks of two machines."""
    try:
        version, text = stat_uri(str(path))[1], path.read_text()
    except FileNotFoundError:
        return ""
    until = time.monotonic() + stale
    while time.monotonic() < until:
        time.sleep(min(renew / 3, 1.0))
        try:
            if stat_uri(str(path))[1] != version:
                return json.loads(text)["holder"]
        except FileNotFoundError:
            return ""
    return ""

"""Connection: one kept-alive HTTP connection to a server that may die, stall or drip, and what all connections share.

A watch ends what takes too long by closing its socket under it, so that no read, of head or body, can hang for ever.
"""

from __future__ import annotations

import http.client
import socket
import threading
import time
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from curation.neural.captioner import MAX_ANSWER, Caption
from curation.neural.chat_protocol import Answer, ServerFault, whole_answer
from curation.operator import OperatorError

if TYPE_CHECKING:
    from curation.neural.endpoint import Endpoint

_BROKEN = (OSError, http.client.HTTPException)
_MAX_BODY = 8 * MAX_ANSWER


class Watch:
    """Ends connections that stand still for too long, or take too long altogether."""

    def __init__(self) -> None:
        self._watched: dict[Connection, None] = {}
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def add(self, connection: Connection) -> None:
        """Watch this connection from now on."""
        with self._lock:
            self._watched[connection] = None
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, daemon=True, name="caption-watch")
                self._thread.start()

    def _run(self) -> None:
        while True:
            time.sleep(0.05)
            now = time.monotonic()
            with self._lock:
                late = [connection for connection in self._watched if connection.late(now)]
            for connection in late:
                connection.end()


class Connection:
    """One connection; used by one thread at a time."""

    def __init__(self, spec: Endpoint, key: str, watch: Watch) -> None:
        parts = urlsplit(spec.url)
        self._spec, self._path = spec, f"{parts.path.rstrip('/')}/chat/completions"
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        self._http = kind(parts.hostname or "", parts.port, timeout=spec.deadline)
        self._headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})
        self._started = self._moved = 0.0
        self._why = ""
        watch.add(self)

    def late(self, now: float) -> bool:
        """Whether the request in flight is past its deadline, or the server stands still in the middle of an answer."""
        if not self._started:
            return False
        if now - self._started > self._spec.deadline:
            self._why = f"no whole answer within {self._spec.deadline:g} s"
        elif self._moved and now - self._moved > self._spec.stall:  # before the first byte it may be queueing us
            self._why = f"stood still for {self._spec.stall:g} s"
        return bool(self._why)

    def end(self) -> None:
        """Cut the connection under whoever reads from it."""
        sock = self._http.sock
        if sock is not None:
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                return  # it is closed already

    def post(self, body: bytes) -> Caption:
        """One try. Raises ServerFault, in every other case than a caption."""
        self._started, self._moved, self._why = time.monotonic(), 0.0, ""
        kept_alive = self._http.sock is not None
        try:
            self._http.request("POST", self._path, body, self._headers)
            response = self._http.getresponse()
            self._moved = time.monotonic() if self._spec.stream else 0.0
            if response.status != 200:
                raise _fault_of(response.status, response.getheader("Retry-After"), response.read(500))
            return self._read(response)
        except ServerFault:
            self._http.close()
            raise
        except _BROKEN as error:
            self._http.close()
            if self._why:
                raise ServerFault(self._why) from error
            # A server closes idle connections at will, which says nothing about the next one.
            outage = isinstance(error, ConnectionRefusedError | socket.gaierror) or not kept_alive
            raise ServerFault(f"connection lost ({type(error).__name__}: {str(error)[:100]})", outage=outage) from error
        finally:
            self._started = 0.0

    def _read(self, response: http.client.HTTPResponse) -> Caption:
        answer, data, size = Answer(), [], 0
        streamed = "text/event-stream" in (response.getheader("Content-Type") or "")
        while chunk := response.read1(1 << 16):
            self._moved = time.monotonic() if streamed else 0.0
            size += len(chunk)
            if size > _MAX_BODY:
                raise ServerFault(f"an answer of more than {_MAX_BODY:,} bytes")
            if streamed:
                answer.feed(chunk)
            else:
                data.append(chunk)
        response.close()  # `read1` leaves a body of known length open, and the connection could not be used again
        if streamed:
            answer.feed(b"\n")
            return answer.caption()
        return whole_answer(b"".join(data))


def _fault_of(status: int, retry_after: str | None, body: bytes) -> ServerFault:
    said = f"HTTP {status}: {body[:160].decode('utf-8', 'replace')}"
    if status in (401, 403, 404, 405):
        return ServerFault(f"{said}: look at the url, the key and the model's name", fatal=True)
    if status in (429, 503):
        return ServerFault(said, outage=True, pause=_seconds(retry_after))
    return ServerFault(said, refused=status in (400, 413, 415, 422))


def _seconds(retry_after: str | None) -> float:
    try:
        return min(120.0, max(0.0, float(retry_after or "")))
    except ValueError:
        return 0.5


class Gate:
    """Holds all requests while the server answers nobody, and lets them go together when it does again."""

    def __init__(self, url: str, patience: float) -> None:
        self._url, self._patience = url, patience
        parts = urlsplit(url)
        self._address = (parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80))
        self._lock = threading.Lock()
        self._probing = False
        self._down = False
        self._until = 0.0
        self._last = time.monotonic()
        self._waiting_since: float | None = None
        self._why = ""
        self.successes = 0

    def succeeded(self) -> None:
        """A caption came."""
        with self._lock:
            self.successes += 1
            self._waiting_since = None
            self._down = False

    def failed(self, fault: ServerFault) -> None:
        """A try failed."""
        now = time.monotonic()
        with self._lock:
            self._why = str(fault)
            # A server that fails for one request is there; patience is for one that answers nobody.
            self._waiting_since = (self._waiting_since or now) if fault.outage else None
            if fault.pause is not None:
                self._until = max(self._until, now + fault.pause)
            elif fault.outage:
                self._down = True

    def wait(self, stop: threading.Event) -> None:
        """Wait until requests may go out. Raises OperatorError when patience ends."""
        while not stop.is_set():
            now = time.monotonic()
            with self._lock:
                if self._waiting_since and now - self._waiting_since > self._patience:
                    raise OperatorError(
                        f"endpoint {self._url}: answered nobody for {self._patience:g} s, last {self._why}: "
                        "start the server and run again; answers so far are kept"
                    )
                if not self._down and now >= self._until:
                    return
                probe = self._down and not self._probing
                self._probing = self._probing or probe
            if probe:
                self._probe()
            else:
                stop.wait(0.02)

    def _probe(self) -> None:
        """One thread knocks; the others wait for it."""
        try:
            with socket.create_connection(self._address, timeout=2.0):
                up = True
        except OSError:
            up = False
            time.sleep(0.1)
        with self._lock:
            self._probing = False
            self._down = self._down and not up


class Rate:
    """Starts spread evenly, never more than so many per minute."""

    def __init__(self, per_minute: float | None) -> None:
        self._gap = 60.0 / per_minute if per_minute else 0.0
        self._next = 0.0
        self._lock = threading.Lock()

    def wait(self, stop: threading.Event) -> None:
        """Wait for the next start."""
        if not self._gap:
            return
        with self._lock:
            start = max(self._next, time.monotonic())
            self._next = start + self._gap
        stop.wait(max(0.0, start - time.monotonic()))

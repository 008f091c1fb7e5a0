"""An S3 server on the loopback interface that misbehaves as told: errors, throttling, delays, connections that break."""

import logging
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}  # fmt: skip
THROTTLED = (
    b'<?xml version="1.0"?><Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>'
)


class Moody:
    """A WSGI application around another: every n-th request of a kind meets a fault."""

    def __init__(self, application: Any) -> None:
        self._application = application
        self._lock = threading.Lock()
        self.every = 0  # 0: well-behaved
        self.requests = 0
        self.faults: Counter[str] = Counter()

    def __call__(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        with self._lock:
            self.requests += 1
            struck = self.every and self.requests % self.every == 0
            fault = ("error", "throttle", "slow", "cut")[self.requests // self.every % 4] if struck else ""
            self.faults[fault] += 1
        if fault in ("error", "throttle"):
            # A server that answers before it has read the request would break the connection as well.
            environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
            status, body = ("500 Internal Server Error", b"") if fault == "error" else ("503 Slow Down", THROTTLED)
            start(status, [("Content-Type", "application/xml"), ("Content-Length", str(len(body)))])
            return [body]
        if fault == "slow":
            time.sleep(0.3)
        answer = self._application(environ, start)
        return _cut(answer) if fault == "cut" and environ["REQUEST_METHOD"] == "GET" else answer


def _cut(answer: Iterable[bytes]) -> Iterator[bytes]:
    """Half of the first piece, then the connection breaks."""
    for piece in answer:
        yield piece[: len(piece) // 2]
        raise ConnectionResetError("the test breaks this connection")


@contextmanager
def serve() -> Iterator[tuple[str, Moody]]:
    """The server's address, and the switch of its moods."""
    moody = Moody(DomainDispatcherApplication(create_backend_app))
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = make_server("127.0.0.1", 0, moody, threaded=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    address = f"http://127.0.0.1:{server.server_port}"
    try:
        # One server after another in a process would share their buckets.
        urllib.request.urlopen(urllib.request.Request(f"{address}/moto-api/reset", method="POST")).close()
        yield address, moody
    finally:
        server.shutdown()
        thread.join()

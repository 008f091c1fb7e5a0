"""A caption server that fails on purpose, and keeps the books: what was paid, and how often."""

import hashlib
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from curation.neural import Caption, Request
from curation.sample import SampleError
from pipelines.caption_server import CaptionServer, Handler, events, request_of

Fault = Callable[[int], str]  # number of the request, from 0, to what goes wrong with it ("" for nothing)


def words_for(request: Request) -> str:
    """The caption that these media get from every server here."""
    return "A picture of " + hashlib.sha256(b"".join(data for _, _, data in request.media)).hexdigest()[:12] + "."


class Parrot:
    """A captioner that is at once done: its captions name the bytes they were asked about."""

    def answers(
        self, requests: Sequence[Request], *, beat: Callable[[int], None], counts: Counter[str]
    ) -> Iterator[tuple[int, Caption | SampleError]]:
        for number, request in enumerate(requests):
            yield number, Caption(text=words_for(request), input_tokens=10, output_tokens=5)


class FaultyServer(CaptionServer):
    """Answers like the Parrot after `seconds`, but for what `fault` says. `paid` counts whole answers by their words."""

    def __init__(self, fault: Fault = lambda _: "", *, seconds: float = 0.0, port: int = 0) -> None:
        self.fault, self.seconds = fault, seconds
        self.paid: Counter[str] = Counter()
        self.kinds: Counter[str] = Counter()
        self.times: list[float] = []
        self.lock = threading.Lock()
        self.sockets: set[Any] = set()
        super().__init__(Parrot(), port=port)
        self.RequestHandlerClass = FaultyHandler

    def kill(self) -> None:
        """Die as a killed process does: all connections are gone, the port is closed."""
        import socket

        self.shutdown()
        self.server_close()
        for sock in list(self.sockets):
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue


class FaultyHandler(Handler):
    server: FaultyServer  # pyright: ignore[reportIncompatibleVariableOverride]

    def setup(self) -> None:
        self.server.sockets.add(self.request)
        super().setup()

    def handle(self) -> None:
        try:
            super().handle()
        except OSError:
            self.close_connection = True  # the client, or `kill`, went away

    def do_POST(self) -> None:
        fields = self._fields()
        request = request_of(fields)
        with self.server.lock:
            number = sum(self.server.kinds.values())
            kind = self.server.fault(number)
            self.server.kinds[kind or "answered"] += 1
        if kind:
            getattr(self, f"fault_{kind}")(request)
            return
        time.sleep(self.server.seconds)
        words = words_for(request)
        answer = Caption(text=words, input_tokens=10, output_tokens=5)
        with self.server.lock:
            self.server.paid[words] += 1
            self.server.times.append(time.monotonic())
        if fields.get("stream"):
            self._stream(answer)
        else:
            from pipelines.caption_server import whole

            self.reply(200, whole(answer, "parrot"))

    def fault_busy(self, _: Request) -> None:
        self.reply(429, {"error": {"message": "slow down"}}, Retry_After="0.2")

    def fault_broken(self, _: Request) -> None:
        self.reply(500, {"error": {"message": "out of memory"}})

    def fault_refuses(self, _: Request) -> None:
        self.reply(400, {"error": {"message": "image too large"}})

    def fault_locked(self, _: Request) -> None:
        self.reply(401, {"error": {"message": "wrong key"}})

    def fault_garbage(self, _: Request) -> None:
        body = b"<html>\xff\xfe proxy error</html>"
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def fault_nonsense(self, _: Request) -> None:
        self.reply(200, {"choices": {"message": 3}})

    def fault_stalls(self, request: Request) -> None:
        """Sends half of an answer and falls silent."""
        self._begin_stream()
        first = next(events(Caption(text=words_for(request)), "parrot"))
        self.wfile.write(b"%x\r\n%s\r\n" % (len(first), first))
        time.sleep(3.0)
        self.close_connection = True

    def fault_drips(self, _: Request) -> None:
        """Sends a byte at a time, without end."""
        self._begin_stream()
        for _ in range(60):
            self.wfile.write(b"1\r\n:\r\n")
            time.sleep(0.05)
        self.close_connection = True

    def fault_hangs(self, _: Request) -> None:
        """Drips the very head of the answer."""
        for byte in b"HTTP/1.1 200 OK\r\nX-Slow: " + b"y" * 40:
            self.wfile.write(bytes([byte]))
            time.sleep(0.05)
        self.close_connection = True

    def fault_cuts(self, request: Request) -> None:
        """Ends the stream in the middle."""
        self._begin_stream()
        first = next(events(Caption(text=words_for(request)), "parrot"))
        self.wfile.write(b"%x\r\n%s\r\n0\r\n\r\n" % (len(first), first))

    def _begin_stream(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()

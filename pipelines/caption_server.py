"""Caption server: our own checkpoint behind the OpenAI chat protocol, for tests, demos and machines without another one.

    python -m pipelines.caption_server shipped:captioner --port 8100

Images come as data URLs only: it fetches nothing. One thread runs the model, over as many waiting requests as there are.
"""

from __future__ import annotations

import argparse
import base64
import binascii
import json
import queue
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from curation.neural.captioner import Caption, Captioner, Request
from curation.neural.local import OwnModel
from curation.sample import Kind, SampleError

MAX_BODY = 64 << 20
_TOGETHER = 8  # requests that the model answers at a time


class RequestError(ValueError):
    """A request that no server could answer: HTTP 400."""


class CaptionServer(ThreadingHTTPServer):
    """Serves a captioner on 127.0.0.1 until `close`. `port` 0 takes a free one; `counts` says what was done."""

    daemon_threads = True
    request_queue_size = 256

    def __init__(self, captioner: Captioner, *, model: str = "vl3", port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.captioner, self.model = captioner, model
        self.counts: Counter[str] = Counter()
        self.waiting: queue.SimpleQueue[tuple[Request, queue.SimpleQueue[Any]] | None] = queue.SimpleQueue()
        self._workers = [
            threading.Thread(target=self.serve_forever, daemon=True, kwargs={"poll_interval": 0.05}),
            threading.Thread(target=self._answer_all, daemon=True),
        ]
        for thread in self._workers:
            thread.start()

    @property
    def url(self) -> str:
        """What an Endpoint calls."""
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    def close(self) -> None:
        """Stop serving."""
        self.shutdown()
        self.waiting.put(None)
        self.server_close()

    def answer(self, request: Request) -> Caption | SampleError:
        """The captioner's answer; waits for its turn."""
        place: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.waiting.put((request, place))
        return place.get()

    def _answer_all(self) -> None:
        while (first := self.waiting.get()) is not None:
            group = [first]
            while len(group) < _TOGETHER and not self.waiting.empty():
                if (following := self.waiting.get()) is None:
                    return
                group.append(following)
            found = self.captioner.answers([r for r, _ in group], beat=lambda _: None, counts=self.counts)
            for number, answer in found:
                group[number][1].put(answer)


class Handler(BaseHTTPRequestHandler):
    """One connection of a client."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: CaptionServer  # pyright: ignore[reportIncompatibleVariableOverride]

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: `counts` keeps the books."""

    def do_GET(self) -> None:
        """The list of models, which clients use to see whether a server is up."""
        if self.path.rstrip("/") == "/v1/models":
            self.reply(200, {"object": "list", "data": [{"id": self.server.model, "object": "model"}]})
        else:
            self.reply(404, {"error": {"message": f"no such path: {self.path}"}})

    def do_POST(self) -> None:
        """A chat completion."""
        try:
            fields = self._fields()
            request = request_of(fields)
        except RequestError as error:
            self.reply(400, {"error": {"message": str(error), "type": "invalid_request_error"}})
            return
        self.server.counts["requests"] += 1
        answer = self.server.answer(request)
        if isinstance(answer, SampleError):
            self.reply(400, {"error": {"message": str(answer), "type": "invalid_request_error"}})
        elif fields.get("stream"):
            self._stream(answer)
        else:
            self.reply(200, whole(answer, self.server.model))

    def _fields(self) -> dict[str, Any]:
        if self.path.rstrip("/") != "/v1/chat/completions":
            raise RequestError(f"no such path: {self.path}; wanted /v1/chat/completions")
        length = self.headers.get("Content-Length", "")
        if not length.isdigit() or int(length) > MAX_BODY:
            self.close_connection = True  # the body is not read, so nothing after it can be
            raise RequestError(f"Content-Length {length!r}: wanted a length up to {MAX_BODY:,} bytes")
        try:
            fields = json.loads(self.rfile.read(int(length)))
        except (ValueError, RecursionError) as error:
            raise RequestError(f"the body is no JSON: {error}") from error
        if not isinstance(fields, dict):
            raise RequestError(f"the body is a JSON {type(fields).__name__}, wanted an object")
        return fields

    def reply(self, status: int, fields: dict[str, Any], **headers: str) -> None:
        """Send a JSON document."""
        body = json.dumps(fields).encode()
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", "Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def _stream(self, answer: Caption) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for event in events(answer, self.server.model):
            self.wfile.write(b"%x\r\n%s\r\n" % (len(event), event))
        self.wfile.write(b"0\r\n\r\n")


def whole(answer: Caption, model: str) -> dict[str, Any]:
    """An answer as one document."""
    message = {"role": "assistant", "content": answer.text}
    choice = {"index": 0, "message": message, "finish_reason": answer.finish}
    return _envelope(model, "chat.completion") | {"choices": [choice], "usage": _usage(answer)}


def events(answer: Caption, model: str) -> Iterator[bytes]:
    """An answer as server-sent events: a few words each, then why it ended, then what it took."""
    words = answer.text.split(" ")
    head = _envelope(model, "chat.completion.chunk")
    for number in range(0, len(words), 4):
        text = ("" if number == 0 else " ") + " ".join(words[number : number + 4])
        yield _event(head | {"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}]})
    yield _event(head | {"choices": [{"index": 0, "delta": {}, "finish_reason": answer.finish}]})
    yield _event(head | {"choices": [], "usage": _usage(answer)})
    yield b"data: [DONE]\n\n"


def _event(fields: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(fields).encode() + b"\n\n"


def _envelope(model: str, kind: str) -> dict[str, Any]:
    return {"id": "chatcmpl-vl3", "object": kind, "created": int(time.time()), "model": model}


def _usage(answer: Caption) -> dict[str, int]:
    total = answer.input_tokens + answer.output_tokens
    return {"prompt_tokens": answer.input_tokens, "completion_tokens": answer.output_tokens, "total_tokens": total}


def request_of(fields: dict[str, Any]) -> Request:
    """The question in a chat completion's fields: the text and the pictures of its user messages.

    Raises:
        RequestError: it asks for what this server does not do, or is malformed.
    """
    texts: list[str] = []
    media: list[tuple[Kind, str, bytes]] = []
    try:
        for message in fields["messages"]:
            content = message["content"]
            parts: Any = [{"type": "text", "text": content}] if isinstance(content, str) else content
            for part in parts:
                if part["type"] == "text":
                    texts.append(str(part["text"]))
                elif part["type"] == "image_url":
                    media.append(("image", *_picture(str(part["image_url"]["url"]))))
                else:
                    raise RequestError(f"a part of type {part['type']!r}: wanted text or image_url")
        tokens = int(fields.get("max_tokens") or 256)
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, RequestError):
            raise
        raise RequestError(
            f"malformed request ({type(error).__name__}: {error}): wanted the chat completions form"
        ) from error
    if not 1 <= tokens <= 8192:
        raise RequestError(f"max_tokens {tokens}: wanted 1 to 8192")
    return Request(text="\n".join(texts), media=tuple(media), max_tokens=tokens)


def _picture(url: str) -> tuple[str, bytes]:
    """Format and bytes of a data URL."""
    head, comma, data = url.partition(",")
    if not (head.startswith("data:image/") and head.endswith(";base64") and comma):
        raise RequestError("an image that is no data URL (data:image/...;base64,...): this server fetches nothing")
    try:
        return head[len("data:image/") : -len(";base64")], base64.b64decode(data, validate=True)
    except binascii.Error as error:
        raise RequestError(f"an image that is no base64: {error}") from error


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve a checkpoint until interrupted."""
    parser = argparse.ArgumentParser(
        prog="python -m pipelines.caption_server", description="Serve a checkpoint as an OpenAI chat server."
    )
    parser.add_argument("checkpoint", help="directory, hub id, or shipped:captioner")
    parser.add_argument("--port", type=int, default=8100)
    options = parser.parse_args(arguments)
    server = CaptionServer(OwnModel(path=options.checkpoint).load(), model=options.checkpoint, port=options.port)
    print(f"serving {options.checkpoint} at {server.url}", flush=True)
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        server.close()


if __name__ == "__main__":
    main()

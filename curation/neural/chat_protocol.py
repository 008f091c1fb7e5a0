"""Chat protocol: requests and answers of OpenAI-compatible servers, as bytes. Answers come from outside and are checked."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

from curation.neural.captioner import MAX_ANSWER, Caption, Request
from curation.sample import SampleError

if TYPE_CHECKING:
    from curation.neural.endpoint import Endpoint

_MIME = {
    "jpeg": "image/jpeg",
    "png": "image/png",
    "webp": "image/webp",
    "gif": "image/gif",
    "bmp": "image/bmp",
    "tiff": "image/tiff",
}


class ServerFault(Exception):  # noqa: N818 - a fault of the server, ours is to try again
    """A try that gave no caption.

    fatal: no request can succeed (wrong key, no such model); refused: this one cannot; outage: nobody is answered now;
    pause: seconds that the server asks us to leave it alone.
    """

    def __init__(
        self,
        message: str,
        *,
        fatal: bool = False,
        refused: bool = False,
        outage: bool = False,
        pause: float | None = None,
    ) -> None:
        super().__init__(message)
        self.fatal, self.refused, self.outage, self.pause = fatal, refused, outage, pause


def body_of(request: Request, spec: Endpoint) -> bytes:
    """The JSON body of a chat completion, media first, as data URLs; a video as its frames with their times.

    Raises:
        SampleError: a video does not decode.
    """
    content: list[dict[str, Any]] = []
    for kind, media_format, data in request.media:
        content += (
            _frames(data, spec.frames) if kind == "video" else [_picture(data, _MIME.get(media_format, "image/jpeg"))]
        )
    content.append({"type": "text", "text": request.text})
    fields: dict[str, Any] = {
        "model": spec.model, "messages": [{"role": "user", "content": content}], "max_tokens": request.max_tokens,
        "temperature": spec.temperature, "seed": spec.seed, "stream": spec.stream,
    }  # fmt: skip
    if spec.stream:
        fields["stream_options"] = {"include_usage": True}
    return json.dumps(fields).encode()


def _picture(data: bytes, mime: str) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": f"data:{mime};base64,{base64.b64encode(data).decode()}"}}


def _frames(data: bytes, frames: int) -> list[dict[str, Any]]:
    import cv2

    from curation.neural.embedding import clip_frames

    content: list[dict[str, Any]] = []
    for pixels in clip_frames(data, frames):
        done, encoded = cv2.imencode(".jpg", pixels[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 90])
        if not done:
            raise SampleError("a frame of the video cannot be encoded as JPEG: fetch the video again")
        content.append(_picture(encoded.tobytes(), "image/jpeg"))
    return content


class Answer:
    """A caption that grows, from one JSON document or from the events of a stream."""

    def __init__(self) -> None:
        self._text: list[str] = []
        self._size = 0
        self._finish = ""
        self._usage: dict[str, Any] = {}
        self._rest = b""
        self._done = False

    def feed(self, data: bytes) -> None:
        """Take up bytes of an event stream. Raises ServerFault on garbage."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > MAX_ANSWER:
            raise ServerFault(f"an event of more than {MAX_ANSWER:,} bytes")
        for line in lines:
            if not line.startswith(b"data:"):
                continue  # comments, event names, blank lines
            payload = line[5:].strip()
            if payload == b"[DONE]":
                self._done = True
            else:
                self.take(_parsed(payload), "delta")

    def take(self, fields: Any, part: str) -> None:
        """Take up one document or event; `part` is "message" or "delta"."""
        try:
            if fields.get("error"):
                raise ServerFault(f"the server says {str(fields['error'])[:200]}")
            self._usage = fields.get("usage") or self._usage
            for choice in fields["choices"][:1]:
                text = (choice.get(part) or {}).get("content") or ""
                self._size += len(text)
                self._text.append(text)
                self._finish = choice.get("finish_reason") or self._finish
        except (AttributeError, KeyError, TypeError, IndexError) as error:
            raise ServerFault(f"an answer without {error}: {str(fields)[:120]}") from error
        if self._size > MAX_ANSWER:
            raise ServerFault(f"an answer of more than {MAX_ANSWER:,} characters")

    def caption(self) -> Caption:
        """The whole answer, which may be without words. Raises ServerFault if it never ended."""
        if not self._finish:
            raise ServerFault("the answer ends in the middle")
        if self._finish not in ("stop", "length"):
            raise ServerFault(
                f"the server finished with {self._finish!r}"[:200], refused=self._finish == "content_filter"
            )
        try:
            text = "".join(self._text).strip()
            tokens = [int(self._usage.get(name) or 0) for name in ("prompt_tokens", "completion_tokens")]
        except (TypeError, ValueError) as error:
            raise ServerFault(f"an answer that is no text: {error}") from error
        return Caption(
            text=text,
            finish="length" if self._finish == "length" else "stop",
            input_tokens=tokens[0],
            output_tokens=tokens[1],
        )


def whole_answer(data: bytes) -> Caption:
    """The caption in a document. Raises ServerFault on garbage."""
    answer = Answer()
    answer.take(_parsed(data), "message")
    return answer.caption()


def _parsed(data: bytes) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ServerFault(f"garbage instead of JSON: {data[:60]!r}") from error

"""Serve: a read-only page over a dataset: search by any column, open a sample with its media and its turns.

Loopback only unless told otherwise. A request names a sample by its id and a medium by its number, never a file. Media are read from OUT
and from directories that whoever started the server named; pictures are decoded and encoded again before they are sent.
"""

import re
import sys
import threading
import time
from collections.abc import Sequence
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from charts import render
from curation.sample import SampleError
from pipelines.browse import DatasetView
from pipelines.ledger import FIXED
from pipelines.query import QueryError
from pipelines.samples import FoundMedium, FoundSample
from pipelines.thumbnails import Thumbnailer

PAGE = 24  # samples
SMALL, LARGE = 144, 1024  # pixels
MAX_VIDEO = 256 << 20  # bytes
_SAMPLE = re.compile(r"/sample/([0-9a-f]{32})")
_MEDIUM = re.compile(r"/media/([0-9a-f]{32})/(\d{1,4})(/large|/whole)?")
_VIDEO_TYPES = {"mp4": "video/mp4", "mov": "video/mp4", "webm": "video/webm", "mkv": "video/webm"}
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class DatasetServer(ThreadingHTTPServer):
    """Serves one dataset; `port` 0 takes a free one. media: directories outside OUT whose media may be shown."""

    daemon_threads = True

    def __init__(self, directory: Path, *, host: str = "127.0.0.1", port: int = 0, media: Sequence[Path] = ()) -> None:
        self.view = DatasetView(directory, roots=media)
        self.thumbnailer = Thumbnailer()
        self.decoding = threading.Lock()  # one decoder process: requests take turns
        super().__init__((host, port), _Handler)
        # A page of another site that points its own name at this machine (DNS rebinding) is told apart by the name it asks for.
        names = ["localhost", "127.0.0.1", "[::1]", host]
        self.names = {f"{name}:{self.server_port}" for name in names}

    @property
    def url(self) -> str:
        """Where to look."""
        return f"http://{self.server_address[0]}:{self.server_port}/"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A reader that went away before its answer came is no fault; anything else is shown."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)

    def server_close(self) -> None:
        """Stop listening, and end the decoder."""
        super().server_close()
        self.thumbnailer.close()


class _Handler(BaseHTTPRequestHandler):
    server: DatasetServer  # pyright: ignore[reportIncompatibleVariableOverride]
    server_version, sys_version = "vl3", ""

    def do_GET(self) -> None:
        if self.headers.get("Host") not in self.server.names:
            self._answer(HTTPStatus.MISDIRECTED_REQUEST, b"ask by the address that serve printed")
            return
        address = urlsplit(self.path)
        sample, medium = _SAMPLE.fullmatch(address.path), _MEDIUM.fullmatch(address.path)
        try:
            if address.path == "/":
                self._page(self._search(parse_qs(address.query, max_num_fields=8)))
            elif address.path == "/favicon.ico":
                self._answer(HTTPStatus.NO_CONTENT, b"")
            elif sample:
                self._sample(sample[1])
            elif medium:
                self._medium(medium[1], int(medium[2]), medium[3] or "")
            else:
                self._answer(HTTPStatus.NOT_FOUND, b"no such page")
        except PermissionError as error:
            self._answer(HTTPStatus.FORBIDDEN, str(error).encode())
        except (SampleError, KeyError, IndexError, ValueError) as error:
            self._answer(HTTPStatus.NOT_FOUND, str(error).encode(errors="replace"))

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: requests are of no interest."""

    def _search(self, asked: dict[str, list[str]]) -> str:
        where, sort, page = (asked.get(name, [""])[0] for name in ("where", "sort", "page"))
        descending, number = bool(asked.get("descending")), int(page) if page.isdecimal() and len(page) < 9 else 0
        view, started = self.server.view, time.perf_counter()
        values: dict[str, Any] = {
            "where": where,
            "sort": sort,
            "descending": descending,
            "scores": view.scores,
            "error": "",
        }
        try:
            found = view.search(where, sort=sort, descending=descending, offset=number * PAGE, limit=PAGE)
        except QueryError as error:
            return self._render("browse.html", **values | {"error": str(error)})
        took = round(1000 * (time.perf_counter() - started))

        def link(to: int) -> str:
            return "/?" + urlencode(
                {"where": where, "sort": sort, "page": to} | ({"descending": 1} if descending else {})
            )

        values |= {"total": found.total, "samples": view.table.height, "milliseconds": took, "columns": view.columns}
        values |= {
            "previous": link(number - 1) if number else "",
            "next": link(number + 1) if (number + 1) * PAGE < found.total else "",
        }
        samples = view.finder.find([row for row in found.rows if row["decision"] != "quarantined"])
        rows = [self._summary(row, samples.get(row["id"]), sort) for row in found.rows]
        return self._render("browse.html", rows=rows, **values)

    def _summary(self, row: dict[str, Any], sample: FoundSample | None, sort: str) -> dict[str, Any]:
        scores = {n: v for n, v in row.items() if n not in FIXED and isinstance(v, float) and (not sort or n == sort)}
        shown = bool(sample and sample.media and self.server.view.allowed(sample.media[0].reference))
        return {
            "id": row["id"],
            "origin": row["origin"],
            "ended": "kept" if row["decision"] == "kept" else row["reason"],
            "caption": sample.caption[:240] if sample else "",
            "pictured": shown,
            "missing": "lies outside the dataset: start serve with --media DIR"
            if sample and sample.media and not shown
            else "",
            "scores": dict(list(scores.items())[:6]),
        }

    def _sample(self, name: str) -> None:
        view = self.server.view
        row = view.row(name)
        if row is None:
            raise KeyError(f"no sample {name}")
        sample = view.sample(row) if row["decision"] != "quarantined" else None
        media = [self._described(medium) for medium in sample.media] if sample else []
        lead = (
            "" if sample else "Its turns and media are not shown: it failed, or the shards or working files are gone."
        )
        facts = {key: value for key, value in row.items() if value is not None}
        turns = sample.turns if sample else ()
        self._page(
            self._render(
                "sample.html", id=name, lead=lead, media=media, turns=turns, row=facts, heading=str(row["origin"])
            )
        )

    def _described(self, medium: FoundMedium) -> dict[str, Any]:
        length = f", {medium.duration:.1f} s" if medium.duration else ""
        refused = (
            ""
            if self.server.view.allowed(medium.reference)
            else "lies outside the dataset: start serve with --media DIR"
        )
        about = f"{medium.format} {medium.width} x {medium.height}{length}"
        return {"kind": medium.kind, "about": about, "refused": refused}

    def _medium(self, name: str, number: int, form: str) -> None:
        view = self.server.view
        row = view.row(name)
        sample = view.sample(row) if row is not None and row["decision"] != "quarantined" else None
        if sample is None:
            raise KeyError(f"no media of {name}")
        medium = sample.media[number]
        if not view.allowed(medium.reference):
            raise PermissionError("lies outside the dataset: start serve with --media DIR")
        if (
            form == "/whole"
            and medium.kind == "video"
            and medium.format in _VIDEO_TYPES
            and medium.reference.size <= MAX_VIDEO
        ):
            self._answer(HTTPStatus.OK, view.encoded(medium.reference), _VIDEO_TYPES[medium.format])
            return
        with self.server.decoding:
            side = LARGE if form else SMALL
            made = self.server.thumbnailer.make(medium.reference, medium.kind, side=side, frames=1)
        if not made.pictures:
            raise SampleError(made.error)
        self._answer(HTTPStatus.OK, made.pictures[0], "image/jpeg")

    def _render(self, template: str, *, heading: str = "", **values: Any) -> str:
        title = heading or f"{self.server.view.directory.name}: samples"
        return render(template, packages=("pipelines.report",), served=True, title=title, **values)

    def _page(self, text: str) -> None:
        self._answer(HTTPStatus.OK, text.encode(errors="replace"), "text/html; charset=utf-8")

    def _answer(self, status: HTTPStatus, body: bytes, kind: str = "text/plain; charset=utf-8") -> None:
        self.send_response(status)
        for name, value in {**_HEADERS, "Content-Type": kind, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

"""Lines: bounded, streaming reading of line files and JSON lists, plain or compressed; faults told by place."""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

from curation.operator import Part, PartLimits
from curation.sample import SampleError
from curation.sources.files import InputFile
from curation.sources.streams import DAMAGE, is_compressed, open_stream
from curation.uris import open_uri

# The longest line or list element that is taken up. A longer one is one bad sample, however long it is.
MAX_LINE_BYTES = 64 << 20
# Lines are counted up to here only: with a fault in every part of a huge file the counting would take over.
_COUNTED_BYTES = 256 << 20
_BLOCK = 1 << 20
_PROBE = 64 << 10
_BOM = b"\xef\xbb\xbf"
_SPACE = b" \t\r\n"
_GAP = _SPACE + b","
# A string, or a bracket. Possessive, so that a string of millions of escapes costs no memory for going back.
_TOKEN = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"|["\[\]{}]', re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A line, or an element of a JSON list: where it starts (decompressed bytes), what it holds or what is wrong."""

    offset: int
    data: bytes = b""
    fault: str = ""


def is_list(uri: str) -> bool:
    """Whether the name says one JSON list instead of a value per line."""
    return uri.lower().removesuffix(".gz").removesuffix(".zst").endswith(".json")


def cut_lines(file: InputFile, limits: PartLimits) -> list[Part]:
    """Byte ranges of a plain file; a range holds the lines that start in it. A compressed file is one part.

    Rows are estimated from samples of the file: counting them would mean reading everything.
    """
    if is_compressed(file.uri):
        return [Part(uri=file.uri, begin=0, end=file.size, rows=0, bytes=file.size)]
    per_line = _bytes_per_line(file)
    step = int(max(1, min(limits.bytes, limits.rows * per_line)))
    ranges = [(at, min(at + step, file.size)) for at in range(0, file.size, step)]
    return [
        Part(uri=file.uri, begin=begin, end=end, rows=max(1, round((end - begin) / per_line)), bytes=end - begin)
        for begin, end in ranges
    ]


def _bytes_per_line(file: InputFile) -> float:
    """From eight places of the file, since lines of a kind often stand together."""
    seen = lines = 0
    try:
        with open_uri(file.uri) as stream:
            for number in range(8):
                stream.seek(number * file.size // 8)
                probe = stream.read(_PROBE)
                seen, lines = seen + len(probe), lines + probe.count(b"\n")
    except OSError:
        pass  # reading the part will say so
    return max(1.0, seen / max(1, lines))


def read_lines(part: Part) -> Iterator[Line]:
    """The lines of a part, without line ends; blank lines are skipped. A fault of the file ends the part.

    Raises:
        OSError: the file cannot be opened.
    """
    offset = part.begin
    with open_stream(part.uri) as stream:
        try:
            if part.begin:
                stream.seek(part.begin - 1)
                offset = part.begin - 1 + _skip_line(stream, part.end - part.begin + 1)
            while is_compressed(part.uri) or offset < part.end:
                line = stream.readline(MAX_LINE_BYTES + 1)
                if not line:
                    return
                start, offset = offset, offset + len(line)
                if len(line) > MAX_LINE_BYTES and not line.endswith(b"\n"):
                    offset += _skip_line(stream)
                    yield Line(offset=start, fault=_too_long(offset - start))
                elif data := line.removeprefix(_BOM if start == 0 else b"").strip(_SPACE):
                    yield Line(offset=start, data=data)
        except DAMAGE as error:
            yield Line(offset=offset, fault=f"the file is damaged from here: {error}")


def _skip_line(stream: BinaryIO, limit: int | None = None) -> int:
    """Read past the next line end, or past `limit` bytes; returns the bytes passed."""
    passed = 0
    while limit is None or passed < limit:
        piece = stream.readline(_BLOCK)
        passed += len(piece)
        if not piece or piece.endswith(b"\n"):
            return passed
    return passed


def _too_long(size: int) -> str:
    return f"{size:,} bytes long, limit {MAX_LINE_BYTES:,}"


class LineCounter:
    """Numbers of lines for messages.

    Counting means reading what comes before, so only faults ask, in ascending order of offset.
    """

    def __init__(self, uri: str) -> None:
        self._uri = uri
        self._stream: BinaryIO | None = None
        self._offset = 0
        self._number = 1

    def __enter__(self) -> "LineCounter":
        return self

    def __exit__(self, *_: object) -> None:
        if self._stream:
            self._stream.close()

    def where(self, offset: int) -> str:
        """The line that starts at `offset`, as "line 7"; far into a file the offset has to do."""
        if offset > _COUNTED_BYTES:
            return f"byte {offset:,}"
        try:
            self._stream = self._stream or open_stream(self._uri)
            while self._offset < offset and (block := self._stream.read(min(_BLOCK, offset - self._offset))):
                self._number += block.count(b"\n")
                self._offset += len(block)
        except DAMAGE:
            return f"byte {offset:,}"
        return f"line {self._number:,}"


def parse_object(data: bytes) -> dict[str, Any]:
    """A JSON object.

    Raises:
        SampleError: not UTF-8, not JSON, nested too deep, or no object.
    """
    try:
        value = json.loads(data.decode())
    except UnicodeDecodeError as error:
        raise SampleError(f"not UTF-8 at byte {error.start}: decode it with its real encoding") from error
    except json.JSONDecodeError as error:
        raise SampleError(f"broken JSON: {error.msg} at column {error.colno}") from error
    except (ValueError, RecursionError) as error:
        raise SampleError(f"refused JSON: {error}") from error
    if not isinstance(value, dict):
        raise SampleError(f"holds a JSON {type(value).__name__}: wanted an object")
    return value


def list_elements(uri: str, begin: int = 0, end: int | None = None) -> Iterator[Line]:
    """The objects of one JSON list, found by their brackets and streamed; anything else in the list is a fault.

    begin is 0 or where an element starts; elements that start at `end` or later are left out (not of compressed files).
    """
    end = None if is_compressed(uri) else end
    with open_stream(uri) as stream:
        try:
            if begin:
                stream.seek(begin)
            yield from _scan(stream, begin, end, depth=1 if begin else 0)
        except DAMAGE as error:
            yield Line(offset=begin, fault=f"the file is damaged: {error}")


def _scan(stream: BinaryIO, base: int, end: int | None, *, depth: int) -> Iterator[Line]:
    """Elements from a stream that stands at `base`; depth 0 before the list's bracket, 1 inside it.

    `buffer` starts at file offset `base`; `at` is where scanning goes on, `start` where the open element began.
    """
    buffer, at, start = b"", 0, -1
    while block := stream.read(_BLOCK):
        buffer += block
        for token in _TOKEN.finditer(buffer, at):
            text = token.group()
            if text == b'"':  # an unfinished string: wait for more
                break
            gap, where = base + at, base + token.start()
            stray = buffer[at : token.start()].strip(_GAP) if depth < 2 else b""
            at = token.end()
            if depth == 0 and (text != b"[" or stray not in (b"", _BOM)):
                yield Line(
                    offset=base, fault="no JSON list: wanted [{...}, ...], or a .jsonl file with an object per line"
                )
                return
            if depth == 1 and end is not None and where >= end:
                return
            if depth == 1 and (stray or text[:1] == b'"'):
                yield Line(offset=gap if stray else where, fault="the list holds a bare value here: wanted objects")
            if text in b"[{":
                start = token.start() if depth == 1 else start
                depth += 1
            elif text in b"]}":
                depth -= 1
                if depth == 1:
                    yield Line(offset=base + start, data=buffer[start:at])
                elif depth == 0:
                    return
        keep = start if depth > 1 else at
        if len(buffer) - keep > MAX_LINE_BYTES:
            long = f"longer than {MAX_LINE_BYTES:,} bytes; the rest of the file is not read"
            yield Line(offset=base + keep, fault=long)
            return
        buffer, base, at, start = buffer[keep:], base + keep, at - keep, start - keep
    yield Line(offset=base, fault="the list is not closed: the file is truncated")


def nested_list(uri: str, key: str) -> int:
    """Where the elements of the list under a key of the file's object begin; 0 where there is no such list.

    `list_elements` from there reads them, to the list's end.
    """
    depth, name, base, buffer, at = 0, b"", 0, b"", 0
    wanted = json.dumps(key).encode()
    with open_stream(uri) as stream:
        try:
            while block := stream.read(_BLOCK):
                buffer += block
                for token in _TOKEN.finditer(buffer, at):
                    text = token.group()
                    if text == b'"':
                        break
                    at = token.end()
                    if text in b"[{":
                        if depth == 1 and text == b"[" and name == wanted:
                            return base + at
                        depth += 1
                    elif text in b"]}":
                        depth -= 1
                    elif depth == 1:
                        name = text
                if len(buffer) - at > MAX_LINE_BYTES:
                    return 0
                buffer, base, at = buffer[at:], base + at, 0
        except DAMAGE:
            return 0
    return 0


def cut_list(file: InputFile, limits: PartLimits, *, begin: int = 0) -> Sequence[Part]:
    """Runs of elements of a JSON list within the limits; of one that is nested in an object, from `begin` on.

    Reads the file once: where elements start shows nowhere else.
    """
    if is_compressed(file.uri):
        return [Part(uri=file.uri, begin=begin, end=max(file.size, begin + 1), rows=0, bytes=file.size)]
    parts: list[Part] = []
    rows = 0
    try:
        for element in list_elements(file.uri, begin):
            if rows and (rows >= limits.rows or element.offset + len(element.data) - begin > limits.bytes):
                parts.append(
                    Part(uri=file.uri, begin=begin, end=element.offset, rows=rows, bytes=element.offset - begin)
                )
                begin, rows = element.offset, 0
            rows += 1
    except OSError:
        rows = 1
    if rows:
        parts.append(Part(uri=file.uri, begin=begin, end=max(file.size, begin + 1), rows=rows, bytes=file.size - begin))
    return parts

"""Fields: values of a record by dotted paths, the media a record names, and turns from questions and answers."""

import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, cast

from curation.sample import Kind, SampleError, Turn, plain
from curation.sources.records import Draft, Encoded, Form, Record, Stretch

Named = tuple[Kind, str | Encoded]
_MAX_TURNS = 512


def pick(record: Any, path: str) -> Any:
    """The value at a dotted path ("ground_truth.gt_parse.0.text"), or None.

    Numbers are places in lists; a string in the middle of a path is JSON that a corpus wrote as text. "a|b" is the first
    of two paths that leads to a value.
    """
    if "|" in path:
        return next((value for p in path.split("|") if (value := pick(record, p)) is not None), None)
    value = record
    for name in path.split(".") if path else ():
        if isinstance(value, str):
            value = _json(value, path)
        if isinstance(value, dict):
            value = cast("dict[str, Any]", value).get(name)
        elif isinstance(value, list) and name.lstrip("-").isdigit() and -len(value) <= int(name) < len(value):
            value = cast("list[Any]", value)[int(name)]
        else:
            return None
    return value


def _json(text: str, path: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise SampleError(f"{path!r} leads through text that is no JSON: {error}") from error


def text_at(record: Any, path: str) -> str:
    """A string; numbers are written out.

    Raises:
        SampleError: there is none.
    """
    value = pick(record, path)
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise SampleError(f"field {path!r} is {type(value).__name__}: wanted a string")
    return value if isinstance(value, str) else f"{value:g}" if isinstance(value, float) else str(value)


def texts_at(record: Any, path: str) -> list[str]:
    """A string, or the strings of a list, without empty ones."""
    value = pick(record, path)
    values = cast("list[Any]", value) if isinstance(value, list) else [value]
    return [str(v) for v in values if isinstance(v, str | int | float) and not isinstance(v, bool) and str(v).strip()]


def list_at(record: Any, path: str) -> list[Any]:
    """A list; JSON text that holds one is parsed.

    Raises:
        SampleError: there is none.
    """
    value = pick(record, path)
    value = _json(value, path) if isinstance(value, str) else value
    if not isinstance(value, list):
        raise SampleError(f"field {path!r} is {type(value).__name__}: wanted a list")
    return cast("list[Any]", value)


def number(value: Any, what: str) -> float:
    """A finite number, also written as text.

    Raises:
        SampleError: it is none.
    """
    try:
        found = float(value)
    except (TypeError, ValueError, OverflowError):
        raise SampleError(f"{what} is {str(value)[:40]!r}: wanted a number") from None
    if found != found or abs(found) > 1e12:
        raise SampleError(f"{what} is {found}: wanted a finite number")
    return found


@dataclass(frozen=True, kw_only=True)
class MediaForm(Form):
    """What forms over media share.

    image, video: paths of the names (or encoded media; also lists), "" for none. file: how a name is made of the value:
    "{}.jpg", "COCO_train2014_{:012d}.jpg"; "{sha256}" is that of the value, as downloaders name pictures after their URL;
    "{r[docId]}" another field of the record.
    id, licence, url: paths for origin.
    """

    image: str = ""
    video: str = ""
    file: str = "{}"
    id: str = "id"
    licence: str = "license"
    url: str = ""

    def media(self, record: Record) -> tuple[Named, ...]:
        """The media of a record, images first.

        Raises:
            SampleError: a name that was expected is missing.
        """
        paths: tuple[tuple[Kind, str], ...] = (("image", self.image), ("video", self.video))
        return tuple(
            ("video" if kind == "video" else "image", v) for kind, p in paths if p for v in self._named(record, p)
        )

    def _named(self, record: Record, path: str) -> Iterable[str | Encoded]:
        value = pick(record, path)
        values = cast("list[Any]", value) if isinstance(value, list) else [value]
        for item in values:
            if isinstance(item, Encoded):
                yield item
            elif isinstance(item, str | int) and not isinstance(item, bool) and item != "":
                yield self.name(item, record)
            else:
                raise SampleError(f"field {path!r} names no medium: found {type(item).__name__}")
        if not values:
            raise SampleError(f"field {path!r} is an empty list: wanted media")

    def name(self, value: str | int, record: Record) -> str:
        """The file name that a value means."""
        try:
            return self.file.format(
                value, r=record, sha256=hashlib.sha256(str(value).encode("utf-8", "replace")).hexdigest()
            )
        except (ValueError, LookupError, TypeError) as error:
            raise SampleError(f"{str(value)[:80]!r} does not fit the file name {self.file!r}") from error

    def draft(
        self, record: Record, turns: Sequence[Turn], media: Sequence[tuple[Kind, str | Encoded | Stretch]]
    ) -> Draft:
        """A draft with the record's origin."""
        found = {
            key: pick(record, path) if path else None
            for key, path in (("name", self.id), ("licence", self.licence), ("url", self.url))
        }
        named = {key: "" if value is None or isinstance(value, Encoded) else str(value) for key, value in found.items()}
        return Draft(turns=tuple(turns), media=tuple(media), **named)


def exchange(pairs: Iterable[tuple[str, str]], media: Sequence[Named] = (), *, system: str = "") -> tuple[Turn, ...]:
    """Turns from questions and answers, the media before the first question.

    Raises:
        SampleError: there is no pair, or too many.
    """
    turns: list[Turn] = [Turn(role="system", text=plain(system))] if system else []
    tags = "\n".join(f"<{kind}>" for kind, _ in media)
    for question, answer in pairs:
        asked = plain(question.strip())
        turns.append(Turn(role="user", text="\n".join(part for part in (tags, asked) if part)))
        turns.append(Turn(role="assistant", text=plain(answer.strip())))
        tags = ""
        if len(turns) > _MAX_TURNS:
            raise SampleError(f"more than {_MAX_TURNS} turns in one conversation: cut it up at the source")
    if len(turns) <= bool(system):
        raise SampleError("no question with an answer in it")
    return tuple(turns)


def draw(record: Record, path: str, choices: int) -> int:
    """A number below `choices` that depends on the record's name only: which wording, which task."""
    name = str(pick(record, path) if path else "")
    return int.from_bytes(hashlib.blake2b(name.encode("utf-8", "replace"), digest_size=8).digest(), "big") % choices


def clean_lines(text: str) -> str:
    """Spaces in lines to one, no empty lines: how words of a page are joined."""
    return "\n".join(line for raw in text.splitlines() if (line := re.sub(r"\s+", " ", raw).strip()))

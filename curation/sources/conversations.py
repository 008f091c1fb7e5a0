"""ConversationSource: conversations in the files that LLaVA and VideoLLaMA3 train from, media found by name."""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from curation.operator import Part, PartLimits
from curation.sample import BadSample, Kind, Media, Role, Sample, SampleError, Turn, make_sample, plain
from curation.sources.files import FileSource, bad_sample
from curation.sources.jsonl import named_fields
from curation.sources.lines import (
    Line,
    LineCounter,
    cut_lines,
    cut_list,
    is_list,
    list_elements,
    parse_object,
    read_lines,
)
from curation.sources.resolvers import Find, Resolver

# Media names by kind.
Names = Mapping[Kind, Sequence[str]]
_ROLES: dict[str, Role] = {
    "human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant", "system": "system",
}  # fmt: skip
# Beyond any clip; JSON allows numbers that no float holds.
_MAX_SECONDS = 1e7
_TAG = re.compile(r"<(image|video)>")


@dataclass(frozen=True, kw_only=True)
class ConversationSource(FileSource):
    """One conversation per line (.jsonl, also .gz and .zst) or per element of a list (.json).

    A conversation is an object with
    - `image` or `video`: a name or a list of names, or neither; each is looked up in `media`, in order;
    - `conversations`: messages {from, value} (also {role, content}) of human | user, gpt | assistant, or system.
    Tags in human messages are the places of the media; without any tag they stand before the first human message. Tags
    elsewhere are text. Messages before the first human one are dropped, except system. With `stream: true` the messages
    (`conversation`) carry `time` in seconds and the one video runs beside them: it stands in a stream turn of its own,
    first, with `start_time` as its time if the clip begins later than the video; `end_time` only has to lie behind the
    messages.

    id, licence, url: fields of origin, "" for none; they may be missing.

    Source: VideoLLaMA3, arXiv:2501.13106, released training code (the format, the place of missing tags, the dropped
    first messages).
    """

    media: tuple[Resolver, ...] = ()
    id: str = "id"
    licence: str = "license"
    url: str = "source_url"

    SUFFIXES: ClassVar[tuple[str, ...]] = (".jsonl", ".jsonl.gz", ".jsonl.zst", ".json")

    def files(self) -> Sequence[str]:
        """The conversation files and the files their media lie in."""
        return sorted({*super().files(), *(uri for resolver in self.media for uri in resolver.files())})

    def parts(self, limits: PartLimits) -> Sequence[Part]:
        """Byte ranges of line files; runs of elements of lists, which are read once for it; compressed files whole."""
        return [part for file in self.inputs() for part in (cut_list if is_list(file.uri) else cut_lines)(file, limits)]

    def read(self, part: Part) -> Iterator[Sample | BadSample]:
        """The conversations that start in the part."""
        lines = list_elements(part.uri, part.begin, part.end) if is_list(part.uri) else read_lines(part)
        finders = [resolver.open() for resolver in self.media]
        try:
            with LineCounter(part.uri) as counter:
                for line in lines:
                    yield self._sample(part.uri, line, counter, finders)
        except OSError as error:
            yield bad_sample(self.origin(part.uri), error, f"cannot be opened: {error.strerror}")

    def _sample(self, uri: str, line: Line, counter: LineCounter, finders: Sequence[Find]) -> Sample | BadSample:
        origin = self.origin(uri, line.offset)
        try:
            if line.fault:
                raise SampleError(line.fault)
            fields = parse_object(line.data)
            named = named_fields(fields, name=self.id, licence=self.licence, url=self.url)
            origin = self.origin(uri, line.offset, **named)
            names: Names = {"image": _media_names(fields, "image"), "video": _media_names(fields, "video")}
            turns = stream_turns(fields) if fields.get("stream") is True else conversation_turns(fields, names)
            return make_sample(
                origin, turns, [self._find(name, kind, finders) for kind, name in in_tag_order(turns, names)]
            )
        except SampleError as error:
            return bad_sample(origin, error, f"{counter.where(line.offset)}: {error}")

    def _find(self, name: str, kind: Kind, finders: Sequence[Find]) -> Media:
        for find in finders:
            if medium := find(name, kind):
                return medium
        looked = ", ".join(resolver.where() for resolver in self.media) or "nowhere: set `media`"
        raise SampleError(f"names {name!r}, not found in {looked}")


def conversation_turns(fields: Mapping[str, Any], names: Names) -> tuple[Turn, ...]:
    """The turns of a conversation.

    Raises:
        SampleError: no messages, or one of them is malformed.
    """
    messages = list(_messages(fields))
    first = next((i for i, (role, _, _) in enumerate(messages) if role == "user"), None)
    if first is None:
        raise SampleError("no human message: a conversation needs one, and an answer")
    turns = [
        Turn(role=role, text=text if role == "user" else plain(text))
        for i, (role, text, _) in enumerate(messages)
        if i >= first or role == "system"
    ]
    tags = "".join(f"<{kind}>\n" for kind in ("image", "video") for _ in names[kind])
    if tags and not any(_TAG.search(turn.text) for turn in turns if turn.role == "user"):
        first = next(i for i, turn in enumerate(turns) if turn.role == "user")
        turns[first] = Turn(role="user", text=tags + turns[first].text)
    return tuple(turns)


def stream_turns(fields: Mapping[str, Any]) -> tuple[Turn, ...]:
    """The turns of a streaming conversation: its video, then what is said when.

    Raises:
        SampleError: no messages, one of them is malformed, or their times do not ascend within the clip.
    """
    start = _seconds(fields.get("start_time") or 0, "start_time")
    end = _seconds(fields["end_time"], "end_time") if fields.get("end_time") is not None else math.inf
    turns = [Turn(role="stream", text="<video>", time=start or None)]
    now = start
    for role, text, message in _messages(fields):
        time = None if role == "system" else _seconds(message.get("time"), "time")
        if time is not None and not now <= time <= end:
            raise SampleError(f"message at {time:g} s: wanted times that ascend, here from {now:g} s to {end:g} s")
        now = now if time is None else time
        turns.append(Turn(role=role, text=plain(text), time=time))
    return tuple(turns)


def in_tag_order(turns: Sequence[Turn], names: Names) -> list[tuple[Kind, str]]:
    """The names in the order of their tags, and then those without a tag, which `make_sample` refuses."""
    left: dict[Kind, list[str]] = {kind: list(names[kind]) for kind in names}
    order: list[tuple[Kind, str]] = []
    for turn in turns:
        for tag in _TAG.findall(turn.text):
            if left[tag]:
                order.append((tag, left[tag].pop(0)))
    return order + [(kind, name) for kind in left for name in left[kind]]


def _messages(fields: Mapping[str, Any]) -> Iterator[tuple[Role, str, Mapping[str, Any]]]:
    messages = next((fields[key] for key in ("conversations", "conversation", "messages") if fields.get(key)), None)
    if not isinstance(messages, list):
        raise SampleError("no conversations: wanted a list of messages")
    for number, message in enumerate(messages, 1):
        if not isinstance(message, dict):
            raise SampleError(f"message {number} is {type(message).__name__}: wanted an object")
        speaker, text = message.get("from", message.get("role")), message.get("value", message.get("content"))
        role = _ROLES.get(speaker) if isinstance(speaker, str) else None
        if role is None:
            raise SampleError(f"message {number} is from {speaker!r}: wanted one of {', '.join(_ROLES)}")
        if not isinstance(text, str):
            raise SampleError(f"message {number} holds {type(text).__name__}: wanted a string")
        yield role, text, message


def _media_names(fields: Mapping[str, Any], kind: Kind) -> list[str]:
    value = fields.get(kind) or []
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise SampleError(f"field {kind!r} holds {str(value)[:80]!r}: wanted a name or a list of names")
    return names


def _seconds(value: Any, field: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= _MAX_SECONDS:
        raise SampleError(f"{field} is {str(value)[:40]!r}: wanted seconds, at least 0")
    return float(value)

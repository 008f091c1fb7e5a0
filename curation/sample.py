"""Sample: one training example of any modality, and where it came from.

One schema serves image-text, documents, multi-image, text-only, video-text, conversations and streaming:

    image-text      user "<image>"           assistant caption
    document        user "<image>" * pages   assistant the text in reading order
    text            assistant the document
    conversation    user, assistant, user, assistant ... with <image> / <video> where the media stand
    streaming       turns that carry `time` in seconds of the video

The tags `<image>` and `<video>` in a turn are the places of the media, in order; nothing else may look like them, so raw text
enters through `plain` which breaks look-alikes apart.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from blake3 import blake3

IMAGE_TAG, VIDEO_TAG = "<image>", "<video>"
Role = Literal["system", "user", "assistant", "stream"]
Kind = Literal["image", "video"]
ROLES: tuple[Role, ...] = ("system", "user", "assistant", "stream")

_TAG = re.compile(r"<(image|video)>")
# Text of one sample, in characters: several of the longest novels. Beyond, even its copies in columns weigh.
MAX_CHARACTERS = 16 << 20


class SampleError(ValueError):
    """This sample cannot be used: it is quarantined, the run goes on.

    `retryable` says that the same input may succeed later (a store that did not answer), so `quarantine --retry` takes it up.
    `kind` names the failure in the quarantine: the class, or the class of the unexpected exception behind it.
    """

    def __init__(self, message: str, *, retryable: bool = False, kind: str = "") -> None:
        super().__init__(message)
        self.retryable = retryable
        self.kind = kind or type(self).__name__


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One message of a conversation. `time` is in seconds of the video, for streaming samples only.

    `was` is what the turn said at its source, where a model has written it anew.
    """

    role: Role
    text: str
    time: float | None = None
    was: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """Where encoded bytes lie, so that they are read in place and never copied between nodes.

    A range of a file (`member` is then only informative: the name inside a tar), or, when `member` starts with "column:", a cell of a
    Parquet file: `offset` is then the row in the file and `size` the bytes of the value. "page:N:" is page N of the PDF in that range,
    rendered (curation.media.pages); "clip:" is a stretch of the clip there (curation.media.excerpt).
    """

    uri: str
    member: str = ""
    offset: int = 0
    size: int = 0

    @property
    def addressable(self) -> bool:
        """Whether one ranged read returns exactly these bytes (false for Parquet cells, rendered pages and cut clips)."""
        return not self.member.startswith(("column:", "page:", "clip:"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Media:
    """An encoded picture or clip. Geometry comes from its header; 0 means not known yet.

    width, height: pixels as displayed (orientation applied); duration: seconds (videos); fps: frames per second; frames: frames the
    container declares (1 for a still); format: what the content says ("jpeg", "png", "mp4" ...), never the file name;
    digest: BLAKE3 of the encoded bytes, 64 hex digits (four times as fast as sha256, and every medium is hashed twice).
    """

    kind: Kind
    reference: Reference | None = None
    data: bytes | None = None
    size: int = 0
    digest: str = ""
    format: str = ""
    width: int = 0
    height: int = 0
    duration: float = 0.0
    fps: float = 0.0
    frames: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where a sample came from.

    source: the branch's source; locator: the place in it, stable whatever the part size ("file.parquet#17"); name: the id the source
    gave it (falls back to the locator); licence and url as the source states them.
    """

    source: str
    locator: str
    name: str
    licence: str = ""
    url: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One training example. `id` is 32 hex digits and unique in a run: it covers the content and the place it was read from."""

    id: str
    turns: tuple[Turn, ...]
    media: tuple[Media, ...]
    origin: Origin

    def text(self) -> str:
        """All that is said, without the places of the media: turns joined by newlines."""
        return "\n".join(_TAG.sub("", turn.text).strip() for turn in self.turns if turn.role != "system").strip()

    def answers(self) -> str:
        """What the model would learn to say: the assistant turns joined by newlines (the caption, the document, the answers)."""
        return "\n".join(turn.text for turn in self.turns if turn.role == "assistant")


@dataclass(frozen=True, slots=True, kw_only=True)
class BadSample:
    """A sample that its source could not read. It is counted and quarantined like any other failure."""

    origin: Origin
    error: str
    message: str
    retryable: bool = False

    @property
    def id(self) -> str:
        """32 hex digits of the place: there is no content to cover."""
        return sample_id(self.origin, (), ())


def sample_id(origin: Origin, turns: Sequence[Turn], media: Sequence[Media]) -> str:
    """128-bit digest, hex, of where the sample lies, what it says and its media's bytes."""
    content = [origin.source, origin.locator, [[t.role, t.text, t.time] for t in turns], [m.digest for m in media]]
    encoded = json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")
    return hashlib.blake2b(encoded, digest_size=16).hexdigest()


def make_sample(origin: Origin, turns: Iterable[Turn], media: Iterable[Media] = ()) -> Sample:
    """Check and build a sample; media with inline bytes get their digest and size here.

    Raises:
        SampleError: no turns, too much text, text that is not valid Unicode, or tags that do not match the media.
    """
    turns = tuple(turns)
    if (characters := sum(len(turn.text) for turn in turns)) > MAX_CHARACTERS:
        raise SampleError(f"{characters:,} characters of text, limit {MAX_CHARACTERS:,}: cut it at the source")
    media = tuple(with_digest(medium) for medium in media)
    check_structure(turns, media)
    return Sample(id=sample_id(origin, turns, media), turns=turns, media=media, origin=origin)


def with_digest(medium: Media) -> Media:
    """The medium with digest and size of its inline bytes filled in."""
    if medium.data is None or medium.digest:
        return medium
    return replace(medium, digest=blake3(medium.data).hexdigest(), size=len(medium.data))


def check_structure(turns: Sequence[Turn], media: Sequence[Media]) -> None:
    """Raise SampleError unless there are turns, their text is Unicode, and the tags name the media one by one, in order."""
    if not turns:
        raise SampleError("no turns: a sample needs at least one turn with text")
    for turn in turns:
        try:
            turn.text.encode()
        except UnicodeEncodeError:
            raise SampleError(
                f"{turn.role} turn is not valid Unicode (lone surrogate): decode the source with its real encoding"
            ) from None
    tags = [tag for turn in turns for tag in _TAG.findall(turn.text)]
    kinds = [medium.kind for medium in media]
    if tags != kinds:
        raise SampleError(
            f"turns name {_count(tags)}, the sample has {_count(kinds)}: each medium needs one tag, in order"
        )


def _count(kinds: Sequence[str]) -> str:
    return ", ".join(f"{kinds.count(kind)} <{kind}>" for kind in ("image", "video") if kind in kinds) or "no media"


def plain(text: str) -> str:
    """Raw text with look-alikes of media tags broken apart ("<image>" becomes "< image>"), so that text never claims a medium."""
    return _TAG.sub(r"< \1>", text)


def caption_turns(caption: str, kinds: Sequence[Kind] = ("image",)) -> tuple[Turn, ...]:
    """A user turn holding the media, an assistant turn holding the caption."""
    tags = "\n".join(f"<{kind}>" for kind in kinds)
    return Turn(role="user", text=tags), Turn(role="assistant", text=plain(caption))


def caption_of(turns: Sequence[Turn]) -> tuple[str, str] | None:
    """What is asked (turns but the assistant's, without tags) and the caption, where turns are a caption: one answer, at the end."""
    if [turn.role == "assistant" for turn in turns] != [False] * (len(turns) - 1) + [True]:
        return None
    if any(turn.role == "stream" for turn in turns):
        return None
    return "\n".join(_TAG.sub("", turn.text).strip() for turn in turns[:-1]).strip(), turns[-1].text


def document_turns(text: str) -> tuple[Turn, ...]:
    """A text document: one assistant turn."""
    return (Turn(role="assistant", text=plain(text)),)


def turns_to_json(turns: Sequence[Turn]) -> str:
    """Canonical JSON of turns, as stored in tables and shards."""
    return json.dumps([turn_to_dict(turn) for turn in turns], ensure_ascii=False, separators=(",", ":"))


def turn_to_dict(turn: Turn) -> dict[str, Any]:
    """A turn as it stands in a shard: `time` and `was` only where there is one."""
    fields: dict[str, Any] = {"role": turn.role, "text": turn.text}
    fields |= {} if turn.time is None else {"time": turn.time}
    return fields if turn.was is None else fields | {"was": turn.was}


def turns_from_json(text: str) -> tuple[Turn, ...]:
    """Inverse of `turns_to_json`."""
    return turns_of(json.loads(text))


def turns_of(fields: Iterable[Mapping[str, Any]]) -> tuple[Turn, ...]:
    """Inverse of `turn_to_dict`, for a list of them."""
    return tuple(Turn(role=t["role"], text=t["text"], time=t.get("time"), was=t.get("was")) for t in fields)

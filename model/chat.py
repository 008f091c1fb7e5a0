"""Chat: turns and visual tokens to the exact token ids and labels that VideoLLaMA3 is trained on.

Where a medium stands is structure, never text: curated text is split once at its `<image>` and `<video>` tags, which
must name the media one by one (`split_turns`); from then on a string is only ever text. A literal of a special token
inside text, such as `<|im_end|>`, is cut before it is encoded: it reads the same after decoding, but never becomes a
special id.

Source: VideoLLaMA3's released chat template and label builder, arXiv:2501.13106.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from functools import lru_cache
from typing import Any, Literal, NamedTuple, cast, get_args

import numpy as np

from model.geometry import Kind
from model.tokenizer import (
    IM_END,
    IM_START,
    IMAGE_PAD,
    IMAGE_TOKEN,
    SPECIAL_TOKENS,
    STREAM_END,
    STREAM_START,
    VIDEO_PAD,
    Encoder,
)

Role = Literal["system", "user", "assistant", "stream"]

IGNORED = -100  # label of a token that is not trained on
_TAG = re.compile(r"<(image|video)>")
# Every special literal of the Qwen2 family has this form; a tokenizer that names its own (`literals`) adds to it.
_LITERAL = r"<\|[A-Za-z0-9_]+\|>"
_SHOWN_IDS = (0, 0)  # counting and showing need no real placeholder ids


class Place(NamedTuple):
    """Where the next medium of the sample stands in a turn."""

    kind: Kind


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One message: text and places of media. `time` is in seconds of the video, for streaming samples."""

    role: Role
    parts: tuple[str | Place, ...]
    time: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Visual:
    """What the chat needs of one medium: visual tokens of each frame after pruning, and its time in seconds."""

    kind: Kind
    tokens: tuple[int, ...]
    times: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        wanted = 1 if self.kind == "image" else len(self.times)
        if len(self.tokens) != wanted:
            raise ValueError(f"Visual: {self.kind} with {len(self.tokens)} frames, wanted {wanted} (one per time)")


class Target(Enum):
    """Why a token is trained on."""

    NONE = 0
    ANSWER = 1
    WATCH = 2  # streaming: after a frame, nothing to say
    RESPOND = 3  # streaming: after a frame, somebody speaks


class Segment(NamedTuple):
    """A stretch of the sample: plain text, one special token, or the placeholders of one frame."""

    what: Literal["text", "token", "image", "video"]
    text: str = ""
    num_tokens: int = 0
    target: Target = Target.NONE


def split_turns(turns: Sequence[Any], kinds: Sequence[Kind] | None = None) -> tuple[Turn, ...]:
    """Turns with text (objects or mappings with role, text or content, time) as turns with parts.

    `kinds` are the sample's media in order, if the caller knows them. White space around a tag is dropped, as the
    reference does. A turn whose content is a list of parts ({"type": "image"}, {"type": "text", "text": ...}) is taken
    as it is.
    Raises ValueError if a role is unknown or if tags and media differ in number, kind or order.
    """
    split = tuple(_split_turn(turn) for turn in turns)
    places = [part.kind for turn in split for part in turn.parts if isinstance(part, Place)]
    if kinds is not None and places != list(kinds):
        raise ValueError(
            f"turns: found places for {places or 'no media'}, the sample has {list(kinds) or 'no media'}; "
            "write one <image> or <video> per medium, in the order of the media"
        )
    return split


def streams(turns: Sequence[Turn]) -> bool:
    """Whether the sample's one video is dealt out between turns by their times."""
    timed = any(turn.time is not None for turn in turns if turn.role != "stream")
    return timed and any(isinstance(part, Place) and part.kind == "video" for turn in turns for part in turn.parts)


def last_time(turns: Sequence[Turn]) -> float | None:
    """Second of the video after which a streaming sample needs no more frames; None if it does not stream."""
    return max(turn.time for turn in turns if turn.time is not None) if streams(turns) else None


def encode_chat(
    turns: Sequence[Turn],
    visuals: Sequence[Visual],
    tokenizer: Encoder,
    *,
    placeholder_ids: tuple[int, int],
    seed: int | str = 0,
    generation: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """Token ids and labels, int64 [T]; labels equal the ids where trained on, else -100.

    `placeholder_ids` are those of an image and of a video (equal in the original's convention). `seed` draws which of
    the streaming sample's "keep watching" targets are left out, so that there are as many as ends of stream turns.
    `generation` opens an assistant turn at the end.
    Raises ValueError if the tokenizer lacks a token or the visuals do not match the turns.
    """
    ids: list[int] = []
    targets: dict[Target, list[int]] = {target: [] for target in Target}
    cut = _cutter(tokenizer)
    for segment in _joined(layout(turns, visuals, generation=generation)):
        start = len(ids)
        if segment.what == "text":
            for piece in cut(segment.text):
                ids.extend(tokenizer.encode(piece))
        elif segment.what == "token":
            ids.append(_token_id(tokenizer, segment.text))
        else:
            ids.extend([placeholder_ids[segment.what == "video"]] * segment.num_tokens)
        targets[segment.target].extend(range(start, len(ids)))
    watch, respond = targets[Target.WATCH], targets[Target.RESPOND]
    if len(watch) > len(respond):
        watch = random.Random(str(seed)).sample(watch, len(respond))
    tokens = np.array(ids, np.int64)
    labels = np.full(len(ids), IGNORED, np.int64)
    chosen = np.array(targets[Target.ANSWER] + watch + respond, np.int64)
    labels[chosen] = tokens[chosen]
    return tokens, labels


def render_chat(turns: Sequence[Turn], visuals: Sequence[Visual], *, generation: bool = False) -> str:
    """The sample as one string with one `<image>` per frame, to be read by people; never encode it."""
    return "".join(
        segment.text if segment.what in ("text", "token") else IMAGE_TOKEN
        for segment in layout(turns, visuals, generation=generation)
    )


def count_tokens(turns: Sequence[Turn], visuals: Sequence[Visual], tokenizer: Encoder) -> tuple[int, int]:
    """Text tokens (all but placeholders) and tokens that the loss sums over: what `encode_chat` gives, only counted."""
    counts = dict.fromkeys(Target, 0)
    cut = _cutter(tokenizer)
    for segment in _joined(layout(turns, visuals)):
        if segment.what == "text":
            counts[segment.target] += sum(len(tokenizer.encode(piece)) for piece in cut(segment.text))
        elif segment.what == "token":
            counts[segment.target] += 1
    watched = min(counts[Target.WATCH], counts[Target.RESPOND])
    return sum(counts.values()), counts[Target.ANSWER] + watched + counts[Target.RESPOND]


def placeholder_ids(tokenizer: Encoder, *, original: bool = False) -> tuple[int, int]:
    """Ids of image and video placeholders: the port's two, or the original's one for both.

    Raises ValueError if the tokenizer has none.
    """
    names = (IMAGE_TOKEN, IMAGE_TOKEN) if original else (IMAGE_PAD, VIDEO_PAD)
    return _token_id(tokenizer, names[0]), _token_id(tokenizer, names[1])


def layout(turns: Sequence[Turn], visuals: Sequence[Visual], *, generation: bool = False) -> Iterator[Segment]:
    """The sample as segments, in order. Raises ValueError if the visuals do not match the places in the turns."""
    places = [part.kind for turn in turns for part in turn.parts if isinstance(part, Place)]
    if places != [visual.kind for visual in visuals]:
        raise ValueError(f"chat: turns have places for {places}, found visuals {[v.kind for v in visuals]}")
    if streams(turns):
        yield from _layout_stream(turns, visuals)
    else:
        remaining = iter(visuals)
        for turn in turns:
            yield from _layout_turn(turn, remaining)
    if generation:
        yield from (Segment("token", IM_START), Segment("text", "assistant\n"))


def _layout_turn(turn: Turn, visuals: Iterator[Visual]) -> Iterator[Segment]:
    if turn.role == "stream":
        yield from _stream_turn(turn, visuals)
        return
    trained = Target.ANSWER if turn.role == "assistant" else Target.NONE
    yield Segment("token", IM_START)
    yield Segment("text", f"{turn.role}\n")
    for part in turn.parts:
        if isinstance(part, str):
            yield Segment("text", part, target=trained)
        else:
            yield from _medium(next(visuals))
    yield Segment("token", IM_END, target=trained)
    yield Segment("text", "\n")


def _medium(visual: Visual) -> Iterator[Segment]:
    for index, num_tokens in enumerate(visual.tokens):
        if visual.kind == "video":
            yield Segment("text", f"{',' if index else ''}Time {visual.times[index]:.1f}s:")
        yield Segment(visual.kind, num_tokens=num_tokens)
    yield Segment("text", "\n")


def _stream_turn(turn: Turn, visuals: Iterator[Visual]) -> Iterator[Segment]:
    frames: list[tuple[float | None, Segment]] = []
    for part in turn.parts:
        if isinstance(part, str):
            if part.strip():
                raise ValueError(f"chat: a stream turn holds frames only, found text {part[:40]!r}; use a user turn")
            continue
        visual = next(visuals)
        times = visual.times if visual.kind == "video" else (turn.time,)
        frames += [(t, Segment(visual.kind, num_tokens=n)) for t, n in zip(times, visual.tokens, strict=True)]
    yield from _frames_shown(frames)


def _frames_shown(frames: Sequence[tuple[float | None, Segment]], *, spoken: bool = True) -> Iterator[Segment]:
    """A stream turn. `spoken` says that somebody speaks next, which makes its end a target."""
    yield Segment("token", STREAM_START)
    yield Segment("text", "stream\n")
    for time, segment in frames:
        if time is not None:
            yield Segment("text", f"Time {time:.1f}s: ")
        yield segment
        yield Segment("text", "\n", target=Target.WATCH)
    yield Segment("token", STREAM_END, target=Target.RESPOND if spoken else Target.NONE)
    yield Segment("text", "\n")


def _layout_stream(turns: Sequence[Turn], visuals: Sequence[Visual]) -> Iterator[Segment]:
    """Before each timed turn, the frames up to its time; frames after the last turn close the sample."""
    if len(visuals) != 1:
        raise ValueError(f"chat: a streaming sample has one video, found {len(visuals)} media; split the sample")
    visual = visuals[0]
    frames = [(t, Segment("video", num_tokens=n)) for t, n in zip(visual.times, visual.tokens, strict=True)]
    shown, now = 0, 0.0
    for turn in turns:
        if turn.time is not None:
            if turn.time < now:
                raise ValueError(f"chat: streaming turn at {turn.time} s follows one at {now} s; order turns by time")
            now = turn.time
        until = sum(time <= now for time, _ in frames) if turn.time is not None else shown
        if until > shown:
            yield from _frames_shown(frames[shown:until])
            shown = until
        texts = tuple(part for part in turn.parts if isinstance(part, str))
        if turn.role != "stream":
            yield from _layout_turn(replace(turn, parts=texts), iter(()))
        elif "".join(texts).strip():
            raise ValueError(f"chat: a stream turn holds frames only, found text {texts[0][:40]!r}; use a user turn")
    if shown < len(frames):
        yield from _frames_shown(frames[shown:], spoken=False)


def _joined(segments: Iterator[Segment]) -> Iterator[Segment]:
    """Adjacent text with the same target as one segment: bytes merge as they would in the whole string."""
    text, target = "", Target.NONE
    for segment in segments:
        if segment.what == "text" and segment.target is target:
            text += segment.text
            continue
        if text:
            yield Segment("text", text, target=target)
            text, target = "", Target.NONE
        if segment.what == "text":
            text, target = segment.text, segment.target
        else:
            yield segment
    if text:
        yield Segment("text", text, target=target)


def _split_turn(turn: Any) -> Turn:
    get = turn.get if isinstance(turn, Mapping) else lambda name: getattr(turn, name, None)
    role, text, time = get("role"), get("text"), get("time")
    content = get("parts") if text is None else text
    content = get("content") if content is None else content
    if role not in get_args(Role):
        raise ValueError(f"turn: found role {role!r}; use one of {', '.join(get_args(Role))}")
    if isinstance(content, str):
        chunks = _TAG.split(content)
        if len(chunks) > 1 or role == "stream":  # chunks alternate: text, kind, text, kind, ... text
            chunks = [chunk.strip() if i % 2 == 0 else chunk for i, chunk in enumerate(chunks)]
        parts = [Place(cast(Kind, chunk)) if i % 2 else chunk for i, chunk in enumerate(chunks)]
    elif isinstance(content, Sequence):
        parts = [_read_part(part) for part in content]
    else:
        raise ValueError(f"{role} turn: found no text; give text (a string) or content (a list of parts)")
    parts = tuple(part for part in parts if part != "")
    return Turn(role=cast(Role, role), parts=parts, time=None if time is None else float(time))


def _read_part(part: Any) -> str | Place:
    if isinstance(part, (str, Place)):
        return part
    if isinstance(part, Mapping) and part.get("type") == "text" and isinstance(part.get("text"), str):
        return part["text"]
    if isinstance(part, Mapping) and part.get("type") in get_args(Kind):
        return Place(part["type"])
    raise ValueError(f"turn: found part {str(part)[:60]!r}; use text, {{'type': 'image'}} or {{'type': 'video'}}")


def _token_id(tokenizer: Encoder, token: str) -> int:
    found = tokenizer.token_to_id(token)
    if found is None:
        raise ValueError(
            f"tokenizer: found no token {token}; add it, or load the tokenizer of a VideoLLaMA3 checkpoint"
        )
    return found


def _cutter(tokenizer: Encoder) -> Callable[[str], list[str]]:
    """Function that cuts text after the first character of every special literal, so that none survives."""
    return _cutter_of(frozenset(getattr(tokenizer, "literals", ())))


@lru_cache(maxsize=16)
def _cutter_of(literals: frozenset[str]) -> Callable[[str], list[str]]:
    named = {*SPECIAL_TOKENS, *literals}
    others = sorted(re.escape(name) for name in named if len(name) > 1 and not re.fullmatch(_LITERAL, name))
    # Each look-ahead matches without consuming, so literals that overlap are all found.
    literal = re.compile("(?=" + "|".join([_LITERAL, *others]) + ")")
    bracketed = all(name.startswith("<") for name in named)

    def cut(text: str) -> list[str]:
        if bracketed and "<" not in text:
            return [text] if text else []
        starts = [match.start() + 1 for match in literal.finditer(text)]
        return [text[a:b] for a, b in zip([0, *starts], [*starts, len(text)], strict=True) if b > a]

    return cut

"""Moments: when things happen in a clip, written "1.0-2.0 s"; dense captions; which of two came first.

Source: VideoLLaMA3, arXiv:2501.13106 3.2.4 (grounding answers as plain text such as "1.0-2.0 s"; questions about time
and order written from dense captions). The wording of the questions is ours.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal, NamedTuple

from curation.forms.fields import MediaForm, draw, exchange, list_at, number, pick, text_at
from curation.sample import SampleError
from curation.sources.records import Draft, Record

# Events of one clip that are asked about in one conversation.
MAX_EVENTS = 8
_CLOCK = re.compile(r"(?:(\d+):)?(\d+):(\d+(?:\.\d+)?)")


class Event(NamedTuple):
    """What happens from start to end, in seconds of the clip."""

    start: float
    end: float
    text: str


@dataclass(frozen=True, kw_only=True)
class Events:
    """How a corpus writes events.

    layout "parallel": lists of [start, end] and of sentences; "list": objects with a span or start and end, and a text;
    "points": objects with one time and a text, each lasting to the next; "one": the record is one event; "charades": a
    line "ID START END##sentence". items, span, start, end, text: paths ("parallel": span and text are the lists).
    duration: path of the clip's, to which events are cut; scale: seconds per unit of the times.
    """

    layout: Literal["parallel", "list", "points", "one", "charades"] = "list"
    items: str = "annotations"
    span: str = ""
    start: str = "start"
    end: str = "end"
    text: str = "sentence"
    duration: str = ""
    scale: float = 1.0

    def of(self, record: Record) -> list[Event]:
        """Events by start.

        Raises:
            SampleError: none is left, or one is malformed.
        """
        duration = self._duration(record)
        events = [
            Event(max(0.0, start), min(end, duration), re.sub(r"\s+", " ", text).strip())
            for start, end, text in self._raw(record, duration)
        ]
        lasting = [event for event in events if event.end > event.start and event.text]
        if not lasting:
            raise SampleError(f"none of {len(events)} events lasts and lies in the clip: look at its times")
        return sorted(lasting)

    def _duration(self, record: Record) -> float:
        value = pick(record, self.duration) if self.duration else None
        return number(value, self.duration) * self.scale if value is not None else float("inf")

    def _raw(self, record: Record, duration: float) -> Iterable[tuple[float, float, str]]:
        if self.layout == "charades":
            head, mark, sentence = text_at(record, "line").partition("##")
            fields = head.split()
            if not mark or len(fields) != 3:
                raise SampleError("wanted ID START END##sentence")
            return [(number(fields[1], "start"), number(fields[2], "end"), sentence)]
        if self.layout == "parallel":
            spans, texts = list_at(record, self.span), list_at(record, self.text)
            if len(spans) != len(texts):
                raise SampleError(f"{len(spans)} times, {len(texts)} sentences: wanted one each")
            return [(*self._span(span), str(text)) for span, text in zip(spans, texts, strict=True)]
        items: list[Any] = [record] if self.layout == "one" else list_at(record, self.items)
        if self.layout == "points":
            times = [seconds(pick(item, self.start)) * self.scale for item in items]
            ends = [*times[1:], duration if duration < float("inf") else times[-1] + 10.0] if times else []
            return [(a, b, text_at(item, self.text)) for a, b, item in zip(times, ends, items, strict=True)]
        return [
            (
                *self._span(pick(item, self.span) if self.span else [pick(item, self.start), pick(item, self.end)]),
                text_at(item, self.text),
            )
            for item in items
        ]

    def _span(self, span: Any) -> tuple[float, float]:
        if not isinstance(span, list) or len(span) != 2:
            raise SampleError(f"times are {str(span)[:40]}: wanted start and end")
        return seconds(span[0]) * self.scale, seconds(span[1]) * self.scale


def seconds(value: Any) -> float:
    """Seconds from a number or from "1:02:03.5"."""
    if isinstance(value, str) and (match := _CLOCK.fullmatch(value.strip())):
        return 3600 * int(match[1] or 0) + 60 * int(match[2]) + float(match[3])
    return number(value, "time")


def span_text(event: Event) -> str:
    """Seconds as the model is taught to say them."""
    return f"{event.start:.1f}-{event.end:.1f} s"


@dataclass(frozen=True, kw_only=True)
class MomentForm(MediaForm):
    """What forms over events share."""

    events: Events = Events()

    def clip(self, record: Record) -> tuple[tuple[Literal["image", "video"], Any], ...]:
        """The clip; of a Charades line, its first word."""
        if self.events.layout == "charades":
            return (("video", self.name(text_at(record, "line").split(" ", 1)[0], record)),)
        return self.media(record)


@dataclass(frozen=True, kw_only=True)
class Grounding(MomentForm):
    """When does it happen? For each event its time."""

    def drafts(self, record: Record) -> Iterable[Draft]:
        """One sample."""
        events = self.events.of(record)[:MAX_EVENTS]
        pairs = [(f'When does this happen in the video: "{event.text}"?', span_text(event)) for event in events]
        media = self.clip(record)
        yield self.draft(record, exchange(pairs, media), media)


@dataclass(frozen=True, kw_only=True)
class DenseCaption(MomentForm):
    """Everything that happens, a line with its time each."""

    prompt: str = "Describe what happens in the video, step by step, with the time of each step."

    def drafts(self, record: Record) -> Iterable[Draft]:
        """One sample."""
        lines = [f"{span_text(event)}: {event.text}" for event in self.events.of(record)]
        media = self.clip(record)
        yield self.draft(record, exchange([(self.prompt, "\n".join(lines))], media), media)


@dataclass(frozen=True, kw_only=True)
class EventOrder(MomentForm):
    """Questions about time and order from dense captions: what at a time, what first, what after.

    An event is asked for only where its words tell it from the others.
    """

    def drafts(self, record: Record) -> Iterable[Draft]:
        """One sample."""
        events = self.events.of(record)
        events = [event for event in events if sum(event.text == other.text for other in events) == 1]
        if not events:
            raise SampleError("its events cannot be told apart")
        pairs = [(f"What happens at {span_text(event)}?", event.text) for event in events[:2]]
        apart = [(a, b) for a, b in pairwise(events) if a.end <= b.start + 0.5]
        for first, second in apart[:2]:
            named = (first, second) if draw(record, self.id, 2) else (second, first)
            question = f'Which happens first: "{named[0].text}" or "{named[1].text}"?'
            pairs += [(question, first.text), (f'What happens after "{first.text}"?', second.text)]
        media = self.clip(record)
        yield self.draft(record, exchange(pairs, media), media)

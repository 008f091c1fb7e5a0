"""Streams: comments while a video runs, each at its time; long videos in windows that can be watched at once."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from curation.forms.fields import list_at, pick, text_at
from curation.forms.moments import Event, MomentForm, seconds
from curation.sample import Kind, SampleError, Turn, plain
from curation.sources.records import Draft, Encoded, Record, Stretch


@dataclass(frozen=True, kw_only=True)
class Streaming(MomentForm):
    """A dialogue beside a running video: somebody asks for comments, which then come when their events end,
    or `at` their start, where an event is a moment.

    seconds: longest window; a longer video becomes several, each cut out from the start of its first event to the end of
    its last. closest, widest: windows whose comments follow each other faster or slower on average (seconds) are left
    out: no sample. messages: path of a dialogue {role, content, time} that the corpus already has; its first window is
    taken, and events are not used.

    Source: VideoLLaMA3, arXiv:2501.13106 3.2.4 (clips of at most 2 minutes, cut on the times of captions; too dense and
    too sparse ones removed: the bounds are not disclosed; ours are one comment in 1 to 30 seconds, about the pace of
    speech and the longest silence of Ego4D's narrations).
    """

    seconds: float = 120.0
    closest: float = 1.0
    widest: float = 30.0
    at: Literal["end", "start"] = "end"
    messages: str = ""
    request: str = "Tell me what happens while you watch."

    def drafts(self, record: Record) -> Iterable[Draft]:
        """A sample per window, or none."""
        if self.messages:
            said = [turn for turn in self._dialogue(record) if (turn.time or 0.0) <= self.seconds]
            yield from self._window(record, said, 0.0)
            return
        for events in self._windows(self.events.of(record)):
            begin = events[0].start if max(event.end for event in events) > self.seconds else 0.0
            yield from self._window(record, self._comments(events, begin), begin)

    def _windows(self, events: Sequence[Event]) -> Iterable[list[Event]]:
        """Consecutive events that fit into a window; one that does not fit into any is left out."""
        window: list[Event] = []
        for event in sorted((e for e in events if e.end - e.start <= self.seconds), key=lambda e: (e.end, e.start)):
            if window and event.end - min(e.start for e in window) > self.seconds:
                yield sorted(window)
                window = []
            window.append(event)
        if window:
            yield sorted(window)

    def _window(self, record: Record, said: Sequence[Turn], begin: float) -> Iterable[Draft]:
        answers = [turn.time or 0.0 for turn in said if turn.role == "assistant"]
        if not answers or not self.closest <= answers[-1] / len(answers) <= self.widest:
            return
        media: list[tuple[Kind, str | Encoded | Stretch]] = list(self.media(record))
        if begin:
            end = begin + answers[-1]
            media = [("video", Stretch(clip=clip, begin=begin, end=end)) for _, clip in self.media(record)]
        turns = [Turn(role="stream", text="<video>"), *said]
        yield self.draft(record, turns, media)

    def _comments(self, events: Sequence[Event], begin: float) -> list[Turn]:
        turns = [Turn(role="user", text=plain(self.request), time=0.0)]
        times = [(event.end if self.at == "end" else event.start, event.text) for event in events]
        turns += [Turn(role="assistant", text=plain(text), time=round(time - begin, 2)) for time, text in sorted(times)]
        return turns

    def _dialogue(self, record: Record) -> list[Turn]:
        turns: list[Turn] = []
        for message in list_at(record, self.messages):
            role = pick(message, "role")
            if role not in ("user", "assistant"):
                raise SampleError(f"a message is from {role!r}: wanted user or assistant")
            time = seconds(pick(message, "time"))
            if turns and time < (turns[-1].time or 0.0):
                raise SampleError(
                    f"message at {time:g} s follows one at {turns[-1].time:g} s: wanted times that ascend"
                )
            turns.append(Turn(role=role, text=plain(text_at(message, "content")), time=time))
        return turns

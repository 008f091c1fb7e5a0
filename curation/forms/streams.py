"""Streams: comments while a video runs, each at its time; long videos in windows that can be watched at once."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from curation.forms.fields import list_at, pick, text_at
from curation.forms.moments import Event, MomentForm, seconds
from curation.sample import SampleError, Turn, plain
from curation.sources.records import Draft, Record


@dataclass(frozen=True, kw_only=True)
class Streaming(MomentForm):
    """A dialogue beside a running video: somebody asks for comments, which then come when their events end.

    seconds: longest window. The window that is taken starts with the video and ends with the last comment in it.
    closest, widest: windows whose comments follow each other faster or slower on average (seconds) are left out: no
    sample. messages: path of a dialogue {role, content, time} that the corpus already has; events are then not used.

    Source: VideoLLaMA3, arXiv:2501.13106 3.2.4 (clips of at most 2 minutes, cut on the times of captions; too dense and
    too sparse ones removed: the bounds are not disclosed; ours are one comment in 1 to 30 seconds, about the pace of
    speech and the longest silence of Ego4D's narrations).
    """

    seconds: float = 120.0
    closest: float = 1.0
    widest: float = 30.0
    messages: str = ""
    request: str = "Tell me what happens while you watch."

    def drafts(self, record: Record) -> Iterable[Draft]:
        """One sample, or none."""
        said = self._dialogue(record) if self.messages else self._comments(self.events.of(record))
        said = [turn for turn in said if (turn.time or 0.0) <= self.seconds]
        answers = [turn.time or 0.0 for turn in said if turn.role == "assistant"]
        if not answers or not self.closest <= answers[-1] / len(answers) <= self.widest:
            return
        media = self.media(record)
        turns = [Turn(role="stream", text="<video>"), *said]
        yield self.draft(record, turns, media)

    def _comments(self, events: Sequence[Event]) -> list[Turn]:
        first = min(event.start for event in events)
        turns = [Turn(role="user", text=plain(self.request), time=min(first, 0.0))]
        for event in sorted(events, key=lambda event: event.end):
            turns.append(Turn(role="assistant", text=plain(event.text), time=round(event.end, 2)))
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

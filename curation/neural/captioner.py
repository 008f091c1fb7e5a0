"""Captioner: a model that answers questions about media, behind one interface; answers that were paid for are never paid again."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from curation.neural.journal import Journal, key_of
from curation.sample import Kind, Media, SampleError

if TYPE_CHECKING:
    from curation.batch import Batch

# Longer answers than this are a model that does not stop.
MAX_ANSWER = 64 << 10


@dataclass(frozen=True, kw_only=True)
class Request:
    """A question about media. `media`: kind, format and encoded bytes of each, in the order the question means."""

    text: str
    media: tuple[tuple[Kind, str, bytes], ...] = ()
    max_tokens: int = 256

    def key(self, identity: str) -> bytes:
        """16 bytes for this question to this captioner."""
        return key_of(identity, self.text, str(self.max_tokens), *(data for _, _, data in self.media))


@dataclass(frozen=True, kw_only=True)
class Caption:
    """An answer. finish: whether the model stopped or was cut; tokens as the server counts them (0: it does not say)."""

    text: str
    finish: Literal["stop", "length"] = "stop"
    input_tokens: int = 0
    output_tokens: int = 0


class Captioner(Protocol):
    """An opened captioner."""

    def answers(
        self, requests: Sequence[Request], *, beat: Callable[[int], None], counts: Counter[str]
    ) -> Iterator[tuple[int, Caption | SampleError]]:
        """Each request's number and answer, or why there is none, in any order, as they come.

        `beat` is called while waiting; `counts` takes up what was done and what it cost.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class CaptionerSpec(ABC):
    """Which captioner, and how it is asked."""

    @abstractmethod
    def identity(self) -> dict[str, Any]:
        """What an answer depends on: the model and how it chooses tokens, never where it runs."""

    @abstractmethod
    def load(self) -> Captioner:
        """The captioner, opened once per process.

        Raises:
            RecipeError: a library is missing. OperatorError: there is no such model or server.
        """


def ask(batch: Batch, spec: CaptionerSpec, requests: Sequence[Request]) -> list[Caption | SampleError]:
    """The answer to each request, kept in the part's folder at once; questions that were answered before are not asked."""
    identity = json.dumps(spec.identity(), sort_keys=True)
    journal = _journal(batch.keep, f"captions-{key_of(identity).hex()}") if batch.keep else Journal(None, "")
    keys = [request.key(identity) for request in requests]
    asked = {key: number for number, key in reversed(list(enumerate(keys))) if journal.get(key) is None}
    numbers = sorted(asked.values())
    failed: dict[bytes, SampleError] = {}
    if numbers:
        answers = spec.load().answers([requests[n] for n in numbers], beat=batch.beat, counts=batch.counters)
        for position, answer in answers:
            key = keys[numbers[position]]
            if isinstance(answer, Caption):
                journal.put(key, json.dumps(vars(answer), ensure_ascii=False).encode("utf-8", "surrogatepass"))
            else:
                failed[key] = answer
    batch.counters["captions_asked"] += len(numbers)
    batch.counters["captions_reused"] += len(requests) - len(numbers)
    return [failed[key] if key in failed else _restored(journal.get(key) or b"") for key in keys]


def encoded_media(batch: Batch, index: int, media: Sequence[Media]) -> tuple[tuple[Kind, str, bytes], ...]:
    """The first media of a sample as a request takes them.

    Raises:
        SampleError: they cannot be read.
    """
    return tuple((m.kind, m.format, batch.encoded(index, number)) for number, m in enumerate(media))


def _restored(payload: bytes) -> Caption:
    return Caption(**json.loads(payload.decode("utf-8", "surrogatepass")))


@lru_cache(maxsize=8)
def _journal(folder: Path, name: str) -> Journal:
    return Journal(folder, name)


def in_groups(
    requests: Sequence[Request],
    size: int,
    answer: Callable[[Sequence[Request]], Iterable[Caption]],
    beat: Callable[[int], None],
) -> Iterator[tuple[int, Caption | SampleError]]:
    """Local models: answer requests in order, `size` at a time; where a group fails, one by one to find who is at fault."""
    for start in range(0, len(requests), size):
        group = requests[start : start + size]
        beat(sum(len(data) for request in group for _, _, data in request.media))
        try:
            yield from enumerate(answer(group), start)
        except ValueError as error:  # what processors and decoders raise for media they cannot take
            if len(group) > 1:
                singles = (in_groups([request], 1, answer, beat) for request in group)
                yield from ((start + n, found) for n, single in enumerate(singles) for _, found in single)
            else:
                yield start, error if isinstance(error, SampleError) else SampleError(f"cannot be captioned: {error}")

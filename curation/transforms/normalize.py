"""Normalise: one way to write a conversation, whatever its source did to line ends, spaces and roles."""

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import groupby
from typing import ClassVar

from curation.operator import Transform
from curation.sample import Sample, SampleError, Turn, plain

_TAGS = re.compile(r"(<(?:image|video)>)")
# All controls but line feed, tab and what stands for a line end; byte-order marks.
_CONTROLS = re.compile("[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\ufeff]")
_LINE_ENDS = re.compile("\r\n?|[\x0b\x0c\x85\u2028\u2029]")
_TRAILING = re.compile(r"[^\S\n]+(?=\n)")
_BLANK_LINES = re.compile(r"\n{3,}")


@dataclass(frozen=True, kw_only=True)
class NormalizeTurns(Transform):
    r"""Rewrites every turn in one form; media tags stay, in order, and running it again changes nothing.

    Text: controls but line feeds and tabs removed, line ends \n, Unicode NFC, no trailing spaces, at most one blank
    line in a row, no white space around it; text that only now reads like a media tag ("<im\0age>") is broken apart.
    Turns: empty system turns and empty user turns at the start go; neighbours of one role become one turn, unless their
    times differ.

    Raises:
        SampleError: an answer is empty or there is none, or a question is empty in the middle of a conversation.

    Source: ours; VideoLLaMA3, arXiv:2501.13106, trains on alternating turns (its conversation format) and does not
    disclose more.
    """

    VERSION: ClassVar[int] = 2

    def rewrite(self, sample: Sample) -> Sample:
        """The sample with normalised turns."""
        written = [replace(turn, text=normalize_text(turn.text)) for turn in sample.turns]
        turns = tuple(_merged(_without_empty(written)))
        if not any(turn.role == "assistant" for turn in turns):
            raise SampleError(f"no answer in {len(sample.turns)} turns: recaption it, or put Words(low=1) first")
        return replace(sample, turns=turns)


def normalize_text(text: str) -> str:
    """One turn's text in normal form (see NormalizeTurns)."""
    # Tags apart: NFC would join the ">" of a tag with a combining stroke that follows it.
    pieces = _TAGS.split(text)
    pieces[::2] = map(_clean, pieces[::2])
    return _BLANK_LINES.sub("\n\n", _TRAILING.sub("", "".join(pieces))).strip()


def _clean(text: str) -> str:
    return plain(unicodedata.normalize("NFC", _LINE_ENDS.sub("\n", _CONTROLS.sub("", text))))


def _without_empty(turns: list[Turn]) -> Iterable[Turn]:
    begun = False
    for number, turn in enumerate(turns, start=1):
        if turn.text or turn.role == "stream":
            begun = begun or turn.role != "system"
            yield turn
        elif turn.role == "assistant":
            raise SampleError(
                f"answer (turn {number} of {len(turns)}) is empty: recaption it, or put Words(low=1) first"
            )
        elif turn.role == "user" and begun:
            raise SampleError(f"question (turn {number} of {len(turns)}) is empty: repair it at the source")


def _merged(turns: Iterable[Turn]) -> Iterable[Turn]:
    for (role, time), run in groupby(turns, key=lambda turn: (turn.role, turn.time)):
        joined = list(run)
        was = next((turn.was for turn in joined if turn.was is not None), None)
        yield Turn(role=role, time=time, text="\n".join(turn.text for turn in joined if turn.text), was=was)

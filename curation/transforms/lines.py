"""Lines: answers without the lines that C4's rules drop."""

import re
from dataclasses import dataclass, replace

from curation.operator import Transform
from curation.sample import Sample

_CITATION = re.compile(r"\[\d*\]|\[edit\]|\[citation needed\]")
_TAG = re.compile(r"<(?:image|video)>")
_TERMINAL = (".", "?", "!", '"', "'")
_DROPPED = (
    "lorem ipsum", "javascript", "{",
    "terms of use", "privacy policy", "cookie policy", "uses cookies", "use of cookies", "use cookies",
)  # fmt: skip
MIN_WORDS, LONG_WORD = 3, 1000


@dataclass(frozen=True, kw_only=True)
class KeepC4Lines(Transform):
    """Keeps of every answer only the lines that read like prose, and takes citation marks ("[12]", "[edit]") out of them.

    A line stays if it has three words, none of over 1,000 characters, ends in . ? ! or a straight quotation mark and not in "...", and
    says nothing of javascript, cookies and terms of use. Goes after the filters `C4`, which say what would be left. Lines that hold a
    place of a medium stay. An answer of which nothing is left becomes empty.

    Source: C4, arXiv:1910.10683, section 2.2, and its code.
    """

    def rewrite(self, sample: Sample) -> Sample:
        """The sample with fewer lines in its answers."""
        turns = [replace(t, text=keep_c4_lines(t.text)) if t.role == "assistant" else t for t in sample.turns]
        return replace(sample, turns=tuple(turns))


def keep_c4_lines(text: str) -> str:
    """The lines that stay, cleaned, joined by newlines."""
    cleaned = (_cleaned(line) for line in text.splitlines())
    return "\n".join(line for line in cleaned if line is not None).strip()


def _cleaned(line: str) -> str | None:
    line = line.strip()
    if _TAG.search(line):
        return line
    words = line.split()
    line = _CITATION.sub("", line)
    if len(words) < MIN_WORDS or max(map(len, words)) > LONG_WORD:
        return None
    if not line.endswith(_TERMINAL) or line.endswith("..."):
        return None
    lowered = line.lower()
    return None if any(phrase in lowered for phrase in _DROPPED) else line

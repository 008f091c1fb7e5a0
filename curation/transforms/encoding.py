"""Encoding: text that was decoded with the wrong encoding, repaired."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from curation.batch import Batch
from curation.operator import OperatorError, Transform
from curation.sample import Sample, Turn, plain


@dataclass(frozen=True, kw_only=True)
class RepairEncoding(Transform):
    """Turns mojibake ("cafÃ©") back into what was written, in all turns.

    `entities` also resolves HTML entities ("&amp;"), in "auto" only in texts without a tag-like "<". Quotation marks, ligatures and
    character widths stay as they are. Tags stay places of media; what only now reads like one is broken apart. About 1 MB/s.

    Source: ftfy (Speer, 2019), which must be installed: the extra `text`.
    """

    entities: Literal["auto", "always", "never"] = "auto"

    def open(self) -> Callable[[Batch], Sequence[Sample]]:
        """Loads ftfy.

        Raises:
            OperatorError: ftfy is not installed.
        """
        _ftfy()
        return super().open()

    def rewrite(self, sample: Sample) -> Sample:
        """The sample with repaired turns."""
        return replace(sample, turns=tuple(self._repaired(turn) for turn in sample.turns))

    def _repaired(self, turn: Turn) -> Turn:
        if turn.text.isascii() and "&" not in turn.text:
            return turn
        unescape = {"auto": "auto", "always": True, "never": False}[self.entities]
        pieces = _split_at_tags(turn.text)
        pieces[::2] = [plain(_ftfy().fix_text(piece, _config(unescape))) for piece in pieces[::2]]
        return replace(turn, text="".join(pieces))


def _split_at_tags(text: str) -> list[str]:
    """Text and tags in turn: what stands at odd places is a tag."""
    return re.split(r"(<(?:image|video)>)", text)


def _config(unescape: str | bool) -> Any:
    return _ftfy().TextFixerConfig(
        unescape_html=unescape, uncurl_quotes=False, fix_latin_ligatures=False, fix_character_width=False, fix_line_breaks=False,
        remove_terminal_escapes=False, remove_control_chars=False, normalization=None,
    )  # fmt: skip


def _ftfy() -> Any:
    try:
        import ftfy
    except ImportError as error:
        raise OperatorError(f"RepairEncoding: ftfy is missing ({error}): pip install 'vl3[text]'") from error
    return ftfy

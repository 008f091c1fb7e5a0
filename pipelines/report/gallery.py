"""Gallery: samples of a report as cards, each found and decoded once."""

import base64
import re
from collections.abc import Iterable, Sequence
from typing import Any

from curation.sample import Turn
from pipelines.report.blocks import Card
from pipelines.report.material import Material
from pipelines.samples import FoundSample
from pipelines.thumbnails import Thumbnail, Thumbnailer

SIDE = 112  # pixels
MAX_PICTURES = 1_200  # about 4 kB each: what keeps the page below 20 MB
CAPTION = 300  # characters
_TAGS = re.compile(r"<(?:image|video)>\s*")
# Control characters have no place in HTML and would not be seen: their pictures stand for them.
_CONTROLS = {c: 0x2400 + c for c in range(32) if chr(c) not in "\n\t\r"} | {0x7F: 0x2421}


class Gallery:
    """Cards of samples. Load all ids first: the ledger and each shard are then read once."""

    def __init__(self, material: Material, thumbnailer: Thumbnailer) -> None:
        self.material = material
        self.thumbnailer = thumbnailer
        self.rows: dict[str, dict[str, Any]] = {}
        self.found: dict[str, FoundSample] = {}
        self.read: dict[str, FoundSample] = {}
        self._made: dict[tuple[str, int, int], Thumbnail] = {}
        self.pictures = 0

    def load(self, ids: Iterable[str], *, before: Iterable[str] = ()) -> None:
        """Find samples; `before`: also as their source gave them."""
        wanted = list(dict.fromkeys([*ids, *before]))
        self.rows = self.material.rows(wanted) if wanted else {}
        # A sample that failed may have killed a worker: it is described, never decoded again.
        sound = [row for row in self.rows.values() if row["decision"] != "quarantined"]
        self.found = self.material.finder.find(sound)
        early = set(before)
        self.read = self.material.finder.as_read([row for row in sound if row["id"] in early])

    def cards(
        self, ids: Sequence[str], note: str = "", *, score: str = "", frames: int = 1, limit: int = 8
    ) -> list[Card]:
        """Cards of the samples that are in the ledger, in order. score: named in the note with its value."""
        return [self.card(self.rows[i], note, score=score, frames=frames) for i in ids if i in self.rows][:limit]

    def card(
        self, row: dict[str, Any], note: str = "", *, score: str = "", frames: int = 1, before: bool = False
    ) -> Card:
        """One sample: its pictures, what is said of it, where it ended. frames: of a video."""
        sample = self.found.get(row["id"])
        facts = {name: value for name, value in self.material.extras(row).items() if not isinstance(value, list)}
        value = row.get(score)
        said = f"{score} = {value:.6g}" if isinstance(value, float) else ""
        ended = "kept" if row["decision"] == "kept" else str(row["reason"])
        pictures, missing = self._pictures(sample, row, frames)
        raw = self.read.get(row["id"])
        return Card(
            id=row["id"],
            origin=str(row["origin"]),
            note=" · ".join(part for part in (note, said, ended) if part),
            caption=_shortened(sample.turns) if sample else "",
            before=_shortened(raw.turns) if before and raw else "",
            pictures=pictures,
            missing=missing,
            facts={"branch": row["branch"], **facts},
        )

    def thumbnail(self, sample: FoundSample, number: int, frames: int) -> Thumbnail:
        """Small pictures of one medium of a sample, made once."""
        key = (sample.id, number, frames)
        if key not in self._made:
            if self.pictures >= MAX_PICTURES:
                return Thumbnail(error="left out: enough pictures for one page")
            medium = sample.media[number]
            self._made[key] = self.thumbnailer.make(medium.reference, medium.kind, side=SIDE, frames=frames)
            self.pictures += len(self._made[key].pictures)
        return self._made[key]

    def _pictures(
        self, sample: FoundSample | None, row: dict[str, Any], frames: int
    ) -> tuple[list[tuple[str, str]], str]:
        if row["decision"] == "quarantined":
            return [], ""
        if sample is None:
            return [], "not found again: the shards or OUT's working files are gone"
        shown, missing = [], ""
        for number in range(min(2, len(sample.media))):
            made = self.thumbnail(sample, number, frames)
            labels = [f"{time:.1f} s" for time in made.times] if frames > 1 else [""] * len(made.pictures)
            shown += [(data_uri(p), label) for p, label in zip(made.pictures, labels, strict=True)]
            missing = made.error
        if len(sample.media) > 2:
            missing = f"{len(sample.media) - 2} more media"
        return shown, missing


def data_uri(jpeg: bytes) -> str:
    """A picture as a value of `src`."""
    return "data:image/jpeg;base64," + base64.b64encode(jpeg).decode()


def _shortened(turns: Sequence[Turn]) -> str:
    """A caption alone, or a conversation's first turns with their roles; shortened."""
    said = [(turn.role, _TAGS.sub("", turn.text).strip()) for turn in turns]
    said = [(role, text) for role, text in said if text]
    if len(said) == 1:
        return _cut(said[0][1], CAPTION)
    return "\n".join(f"{role}: {_cut(text, CAPTION // 2)}" for role, text in said[:4])


def _cut(text: str, characters: int) -> str:
    text = text if len(text) <= characters else text[: characters - 1] + "…"
    return text.translate(_CONTROLS)

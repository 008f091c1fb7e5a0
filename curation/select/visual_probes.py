"""Visual probes: whether a sample shows what a benchmark item shows, for Decontaminate."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from curation.batch import Batch
from curation.sample import Sample
from curation.select import films
from curation.select.dct_hash import busy_share
from curation.select.decontaminate import Hits, Probe
from curation.select.embedding_columns import Embed
from curation.select.kmeans import unit
from curation.select.perceptual import PerceptualDedup
from curation.select.pictures import shown_again
from curation.select.views import STILL, VIEW, records_of


@dataclass(frozen=True, kw_only=True)
class SameLook(Probe):
    """An image of the sample shows an image of the item (detail after alignment), or a clip a part of its clip (share of stills).

    like: what counts as looking the same, as in PerceptualDedup. Images are not looked for within clips.
    """

    like: PerceptualDedup = field(default_factory=PerceptualDedup)

    def open(self, items: Sequence[Sample]) -> Callable[[Batch], Hits]:
        """Look at the items' media once; items whose media do not decode are not looked for."""
        known = _Looks(self.like, Batch(items))

        def look(batch: Batch) -> Hits:
            hit, strength = np.full(len(batch), -1, np.int64), np.full(len(batch), np.nan)
            seen = _Looks(self.like, batch)
            items_at, rows, detail = shown_again(known.pictures, seen.pictures, self.like.likeness())
            found = [
                (seen.of_picture[r], known.of_picture[i], d) for i, r, d in zip(items_at, rows, detail, strict=True)
            ]
            found += [(row, item, share) for row, clip in seen.clips for item, share in known.shares(clip)]
            for row, item, amount in sorted(found, key=lambda each: (each[0], -each[2], each[1])):
                if hit[row] < 0:
                    hit[row], strength[row] = item, min(1.0, float(amount))
            return hit, strength

        return look


class _Looks:
    """Pictures and clips of a batch, and whose they are; what shows almost nothing is left out."""

    def __init__(self, like: PerceptualDedup, batch: Batch) -> None:
        table = like.signature(batch)
        self.like = like
        views, rows = records_of(table["views"], VIEW)
        stills, still_rows = records_of(table["stills"], STILL)
        keys, still_keys = rows * 65536 + views["medium"], still_rows * 65536 + stills["medium"]
        keep = np.flatnonzero(~np.isin(keys, still_keys))
        keep = keep[busy_share(views["thumbnail"][keep]) >= like.busy] if len(keep) else keep
        self.pictures, self.of_picture = (views["hash"][keep], views["thumbnail"][keep]), rows[keep]
        self.clips: list[tuple[int, films.Sequence]] = []
        for key in np.unique(still_keys):
            part = stills[(still_keys == key) & (stills["busy"] >= like.busy)]
            self.clips.append((int(key) // 65536, films.Sequence(times=part["time"], hashes=part["hash"])))

    def shares(self, clip: films.Sequence) -> list[tuple[int, float]]:
        """Samples of which a clip shows a part, or the other way round, and the share of the shorter one's stills."""
        found = []
        for row, own in self.clips:
            short, long = (own, clip) if len(own.times) <= len(clip.times) else (clip, own)
            for flipped in (False, True) if self.like.mirrored else (False,):
                share, different = films.overlap(short, long, bits=self.like.bits, flipped=flipped)
                if share >= self.like.share and different >= films.TELLING:
                    found.append((row, share))
        return found


@dataclass(frozen=True, kw_only=True)
class NearMeaning(Probe):
    """Cosine of the sample's and the item's embeddings. Its scale belongs to the encoder; `low` must be chosen for it."""

    embed: Embed
    low: float

    def open(self, items: Sequence[Sample]) -> Callable[[Batch], Hits]:
        """Embed the items; those without an embedding are not looked for."""
        known = self.embed.open()(Batch(items)).astype(np.float32)
        places = np.flatnonzero(np.isfinite(known).all(axis=1))
        known, embed = unit(known[places]), self.embed.open()

        def look(batch: Batch) -> Hits:
            seen = embed(batch).astype(np.float32)
            fine = np.isfinite(seen).all(axis=1)
            hit, strength = np.full(len(batch), -1, np.int64), np.full(len(batch), np.nan)
            if len(places) and fine.any():
                cosines = unit(seen[fine]) @ known.T
                best = cosines.max(axis=1)
                hit[fine] = np.where(best >= self.low, places[cosines.argmax(axis=1)], -1)
                strength[fine] = np.clip(best, 0, 1)
            return hit, strength

        return look

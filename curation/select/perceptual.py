"""Perceptual dedup: samples whose pictures or clips look the same are one group, and one of them survives."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import polars as pl

from curation.batch import Batch
from curation.media.appearance import SHORT_SIDE
from curation.select import perceptual_tasks
from curation.select.base import BasedSelect, num_of_base
from curation.select.crowds import crowds_of
from curation.select.films import Look, meet_films, still_entries
from curation.select.hamming import plan_blocks
from curation.select.looks import Looks
from curation.select.media_pairs import all_media, decide
from curation.select.pictures import Likeness, all_hashes, entries_of, meet
from curation.select.survivors import rank_samples
from curation.select.tasks import Tables, TaskedSelect, TaskKind
from curation.select.views import SCHEMA, signatures


@dataclass(frozen=True, kw_only=True)
class PerceptualDedup(TaskedSelect, BasedSelect):
    """Keeps one sample of each group that looks the same: re-encoded, resized, brightened, bordered, cropped by a few per cent,
    or mirrored; of clips also parts of each other.

    Two samples are duplicates when they have as many media, each showing the same as the other's, in order; what is said
    about them is not compared. Hashes within `bits` propose a pair; detail of 32 x 32 grey thumbnails after alignment and
    the colours of 8 x 8 cells decide (see `pictures`), for clips the order of their stills (see `films`). Every dropped
    sample is a verified duplicate of the survivor it names. Pictures that show almost nothing (less than `busy` of their
    cells have detail) and samples without media are never duplicates; ExactDedup knows equal bytes. Charts, pages, logos
    and tiny pictures differ in little: they must agree in `plain_detail`, and nowhere differ by more than `fine` at 64 x 64
    in colour, so that a changed label or colour keeps both; of them, cropped, bordered and brightened copies are mostly
    kept as well.

    bits: Hamming distance, of 64; cost grows steeply with it (see docs/scale.md): 8 for up to some 10^7 pictures, 3
    and cropped=False beyond. detail: correlation, at most 1. plain: share of plain cells of any view from which a picture counts
    as one of these, at least 0.25. fine, colour: levels of 0 to 255; colour keeps wares of one shape in several colours, and
    grey copies of coloured pictures. share: of a shorter clip's stills. best: name of the score whose highest value survives (None:
    the largest, in pixels times stills); then the larger, then the smallest id. alternates: a survivor carries at most so
    many other captions of its duplicates.

    Source: no cut is published for VideoLLaMA3's data; ours were chosen on photographs altered by the tests and on the
    closest pairs of different photographs and charts (docs/benchmarks.md).
    """

    VERSION: ClassVar[int] = 3
    TASKS: ClassVar[tuple[TaskKind, ...]] = ("keys", "meet", "pairs")
    COLUMNS = SCHEMA

    bits: int = 8
    detail: float = 0.88
    plain_detail: float = 0.995
    plain: float = 0.33
    fine: float = 20.0
    colour: float = 24.0
    busy: float = 0.1
    mirrored: bool = True
    cropped: bool = True
    share: float = 0.8
    alternates: int = 16

    @property
    def short_side(self) -> int:
        """Of the pictures it hashes."""
        return SHORT_SIDE

    @property
    def carries(self) -> int:
        """Words are not compared."""
        return self.alternates

    def signature(self, batch: Batch) -> pl.DataFrame:
        """Number of media, records of their views and stills, and size; null where a medium does not decode."""
        return signatures(batch)

    def signature_settings(self) -> dict[str, Any]:
        """None: other bounds look at no picture again."""
        return {key: value for key, value in self.settings().items() if key in ("operator", "version")}

    def choose_and_tell(self, table: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
        """All of each group but its survivor, sorted by id, with the survivor as `duplicate_of`.

        `similarity` is the detail of the medium that agrees least; of clips, the share of the shorter one's stills.

        Raises:
            OperatorError: the table has no score named `best`.
        """
        table = self.ranked(self.with_base(table))
        of_base = num_of_base(table)
        looks = Looks(table, busy=self.busy, plain=self.plain)
        hashes = all_hashes(looks.hashes, looks.views.thumbnails, self.likeness())
        entries, stills = entries_of(hashes, self.likeness()), still_entries(looks.clips, mirrored=self.mirrored)
        # The tasks cut hashes likewise, by how many there are.
        blocks = plan_blocks(len(entries) + len(stills), self.bits)
        met = meet(entries, bits=self.bits, blocks=blocks, tables=range(blocks.tables))
        films, common = meet_films(stills, bits=self.bits, blocks=blocks, tables=range(blocks.tables))
        pictures = met.candidates[looks.rows[met.candidates[:, :2]].max(axis=1) >= of_base]
        films = films[looks.clip_rows[films[:, :2]].max(axis=1) >= of_base]
        pairs = pl.concat([looks.same_pictures(pictures, self.likeness()), looks.same_films(films, self.look())])
        crowds = [
            crowds_of(table["id"].gather(looks.rows), met.crowds),
            crowds_of(table["id"].gather(looks.clip_rows), common),
        ]
        same = all_media(pairs, table["media"].fill_null(0)).filter(pl.col("right") >= of_base)
        return decide(table["id"], same), pl.concat(crowds)

    def choose(self, table: pl.DataFrame) -> pl.DataFrame:
        """See `choose_and_tell`."""
        return self.choose_and_tell(table)[0]

    def gather(
        self,
        table: pl.DataFrame,
        learned: pl.DataFrame,  # noqa: ARG002  nothing is learned beforehand
        *,
        base: bool = False,
    ) -> tuple[dict[str, pl.DataFrame], int]:
        """See `perceptual_tasks.gather`."""
        return perceptual_tasks.gather(self, self.scored(table, base=base))

    def num_ranges(self, kind: TaskKind, amount: int, most: int) -> int:
        """Shares of each Hamming table, or of the candidates: of one, two samples are held, some 2 kB."""
        if kind == "meet":
            return plan_blocks(amount, self.bits).tables * max(1, -(-amount // most))
        return max(1, -(-64 * amount // most))

    def meet(self, tables: Tables, number: int, of: int) -> tuple[pl.DataFrame, pl.DataFrame]:
        """See `perceptual_tasks.meet_range`."""
        return perceptual_tasks.meet_range(self, tables, number, of)

    def pairs(self, tables: Tables, number: int, of: int) -> pl.DataFrame:
        """See `perceptual_tasks.pair_range`."""
        return perceptual_tasks.pair_range(self, tables, number, of)

    def decide(self, tables: Tables) -> pl.DataFrame:
        """See `perceptual_tasks.decide_samples`."""
        return perceptual_tasks.decide_samples(self, tables)

    def comparable(self, table: pl.DataFrame) -> pl.DataFrame:
        """Samples of which something is seen."""
        return table.drop_nulls("views")

    def ranked(self, table: pl.DataFrame) -> pl.DataFrame:
        """Samples with `score`, best first."""
        return table[np.argsort(rank_samples(table, "score", "size", who=self.name))]

    def likeness(self) -> Likeness:
        """What counts as the same picture."""
        return Likeness(
            bits=self.bits, detail=self.detail, plain_detail=self.plain_detail, plain=self.plain, fine=self.fine, colour=self.colour,
            mirrored=self.mirrored, cropped=self.cropped,
        )  # fmt: skip

    def look(self) -> Look:
        """What counts as the same film."""
        return Look(bits=self.bits, share=self.share, detail=self.detail)

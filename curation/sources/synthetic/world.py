"""World: which synthetic samples there are, each with its own randomness and perhaps a defect."""

import random
from collections.abc import Mapping
from dataclasses import dataclass

from curation.sources.synthetic import clips, scenes
from curation.sources.synthetic.defects import DEFECTS

# File types of the corpora with media.
SUFFIXES = {"image_text": "jpg", "documents": "png", "videos": "mp4"}


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """What there is: sizes of the corpora, and for every sample its randomness and its defect. small: scenes and clips of few patches."""

    seed: int
    defects: float
    counts: Mapping[str, int]
    small: bool = False

    def rng(self, corpus: str, index: int, use: str = "content") -> random.Random:
        """Randomness of one sample."""
        return random.Random(f"{self.seed}/{corpus}/{index}/{use}")

    def defect(self, corpus: str, index: int) -> str:
        """What is wrong with a sample, "" for nothing."""
        rng = self.rng(corpus, index, "defect")
        return rng.choice(DEFECTS[corpus]) if rng.random() < self.defects else ""

    def original(self, corpus: str, index: int) -> int:
        """The nearest flawless sample before this one (the one a duplicate copies), or after it, or itself."""
        before, after = range(index - 1, -1, -1), range(index + 1, self.counts[corpus])
        return next((i for i in (*before, *after) if not self.defect(corpus, i)), index)

    def scene(self, index: int) -> scenes.Scene:
        """What the picture of a flawless sample of image_text shows."""
        return self.draw_scene(self.rng("image_text", index))

    def clip(self, index: int) -> clips.Clip:
        """What a flawless sample of videos shows."""
        return self.draw_clip(self.rng("videos", index))

    def draw_scene(self, rng: random.Random) -> scenes.Scene:
        """Any scene of this world."""
        return scenes.make_scene(rng, scenes.SMALL if self.small else scenes.STANDARD)

    def draw_clip(self, rng: random.Random) -> clips.Clip:
        """Any clip of this world."""
        return clips.make_clip(rng, clips.SMALL if self.small else clips.STANDARD)


def name_of(corpus: str, index: int) -> str:
    """The id of a sample."""
    return f"{corpus}_{index:06d}"

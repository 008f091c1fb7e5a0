"""Probes that look: a benchmark's pictures and clips are found in samples, altered, and named."""

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
import pytest
from pictures import clip, film, jpeg, photograph, sample_of

from curation.batch import Batch
from curation.select.colour_embedding import ColourEmbedding
from curation.select.decontaminate import Hits
from curation.select.visual_probes import NearMeaning, SameLook


@dataclass
class Case:
    items: list
    samples: list
    wanted: list[int]


@pytest.fixture(scope="module")
def case() -> Case:
    frames = film([1, 2, 3, 4], 8)
    items = [sample_of(f"i{n}", jpeg(photograph(n))) for n in range(5)] + [
        sample_of("clip", clip(frames), kind="video")
    ]
    mirrored = np.ascontiguousarray(photograph(3)[:, ::-1])
    bordered = cv2.copyMakeBorder(photograph(1), 15, 15, 15, 15, cv2.BORDER_CONSTANT, value=(255, 255, 255))
    samples = [
        sample_of("other", jpeg(photograph(40))), sample_of("mirrored", jpeg(mirrored, 60)), sample_of("bordered", jpeg(bordered)),
        sample_of("second", jpeg(photograph(41)), jpeg(photograph(2)[4:-6, 8:-3])), sample_of("part", clip(frames[9:]), kind="video"),
        sample_of("other clip", clip(film([6, 7, 8, 9], 8)), kind="video"),
    ]  # fmt: skip
    return Case(items, samples, [-1, 3, 1, 2, 5, -1])


def found(look: Callable[[Batch], Hits], samples: list) -> tuple[list[int], list[float]]:
    hits, strengths = look(Batch(samples))
    return hits.tolist(), strengths.tolist()


def test_altered_pictures_and_parts_of_clips_hit_their_item(case: Case) -> None:
    look = SameLook().open(case.items)
    hits, strengths = found(look, case.samples)
    assert hits == case.wanted
    assert all(0.8 <= strength <= 1 for hit, strength in zip(hits, strengths, strict=True) if hit >= 0)
    alone = [found(look, [sample])[0][0] for sample in case.samples]
    assert alone == hits


def test_near_embeddings_hit_their_item(case: Case) -> None:
    samples = [sample_of("re-encoded", jpeg(photograph(2), 50)), case.samples[0], case.samples[5]]
    hits, strengths = found(NearMeaning(embed=ColourEmbedding(), low=0.97).open(case.items), samples)
    assert hits == [2, -1, -1]
    assert strengths[0] > 0.97
    assert np.isnan(strengths[2])

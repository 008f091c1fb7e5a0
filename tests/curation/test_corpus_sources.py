"""The real corpus, as samples: counts, digests and conversations that hold together. Set VL3_CORPUS to its folder."""

import hashlib
import os
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from reading import good

from curation.media.read import read_reference
from curation.sample import Sample
from pipelines.recipe import load_recipe

CORPUS = os.environ.get("VL3_CORPUS", "")
EXAMPLE = Path(__file__).parents[2] / "examples" / "corpus.py"

pytestmark = [pytest.mark.corpus, pytest.mark.skipif(not CORPUS, reason="VL3_CORPUS is not set")]


@pytest.fixture(scope="module")
def samples() -> dict[str, list[Sample]]:
    recipe = load_recipe(f"{EXAMPLE}:recipe", CORPUS)
    return {branch.name: good(branch.source) for branch in recipe.branches}


def test_every_sample_of_the_corpus_is_read(samples: dict[str, list[Sample]]) -> None:
    counts = {"image_text": 1650, "documents": 580, "videos": 54, "text": 25951, "conversations": 4420}
    assert {name: len(read) for name, read in samples.items()} == counts
    ids = [sample.id for read in samples.values() for sample in read]
    assert len(set(ids)) == len(ids)


def test_pictures_are_the_bytes_that_the_corpus_states(samples: dict[str, list[Sample]]) -> None:
    stated = {
        row["id"]: row["sha256"]
        for name in ("image_text", "documents")
        for file in sorted(Path(CORPUS).glob(f"{name}-*.parquet"))
        for row in pq.read_table(file, columns=["id", "sha256"]).to_pylist()
    }
    media = {s.origin.name: s.media[0] for name in ("image_text", "documents") for s in samples[name]}
    assert {name: hashlib.sha256(medium.data or b"").hexdigest() for name, medium in media.items()} == stated


def test_conversations_show_the_media_they_name(samples: dict[str, list[Sample]]) -> None:
    known = Counter(s.media[0].digest for name in ("image_text", "documents", "videos") for s in samples[name])
    shown = [medium for sample in samples["conversations"] for medium in sample.media]
    assert all(medium.digest in known for medium in shown)
    assert sum(medium.kind == "video" for medium in shown) == 24
    for medium in shown[::100]:
        assert medium.reference is not None
        assert read_reference(medium.reference) == medium.data

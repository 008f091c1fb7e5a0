"""The weights that come along do what they are for, on scenes that they have never seen."""

import random

import numpy as np
import pytest
import torch
from PIL import Image

from curation.batch import Batch
from curation.filters import Aesthetic, ImageTextSimilarity
from curation.neural import EncoderSpec, HeadSpec, OwnModel
from curation.neural.encoder import ASSETS
from curation.sample import Sample
from curation.sources.synthetic import scenes
from curation.sources.synthetic.facts import shares
from curation.sources.synthetic.looks import LOOKS, spoil
from examples.closed_loop import describe, unseen
from tests.curation import encoder_models as tiny

UNSEEN = 400
LARGEST = 16 << 20


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def sample(number: int, image: Image.Image, caption: str) -> Sample:
    return tiny.image_sample(number, caption, scenes.encode_jpeg(image))


def auc(good: np.ndarray, bad: np.ndarray) -> float:
    """Probability that a good one scores above a bad one, by counting pairs."""
    return float(((good[:, None] > bad[None]) + 0.5 * (good[:, None] == bad[None])).mean())


def one_fact_changed(scene: scenes.Scene, rng: random.Random) -> str:
    """The caption with another colour, form, size or ground: the hardest swap there is."""
    from dataclasses import replace

    shape = scene.shapes[0]
    used = {other.colour for other in scene.shapes}
    changes = [
        replace(shape, colour=rng.choice([c for c in scenes.COLOURS if c not in used])),
        replace(shape, form=rng.choice([f for f in scenes.FORMS if f != shape.form])),
    ]
    return scenes.captions(replace(scene, shapes=(rng.choice(changes), *scene.shapes[1:])))[0]


def test_swapped_captions_are_told_from_right_ones() -> None:
    rng = random.Random("unseen pairs")
    drawn = [scenes.make_scene(rng) for _ in range(UNSEEN)]
    swapped = np.array([rng.random() < 0.2 for _ in drawn])
    captions = [
        scenes.captions(scenes.make_scene(rng) if bad else scene)[0] for scene, bad in zip(drawn, swapped, strict=True)
    ]
    batch = Batch([sample(n, scenes.draw_scene(s), c) for n, (s, c) in enumerate(zip(drawn, captions, strict=True))])
    scores = ImageTextSimilarity(encoder=EncoderSpec.shipped()).open()(batch).to_numpy()
    assert batch.counters["texts_truncated"] == 0
    assert auc(scores[~swapped], scores[swapped]) >= 0.97


def test_captions_with_one_wrong_fact_score_lower() -> None:
    rng = random.Random("one wrong fact")
    drawn = [scenes.make_scene(rng) for _ in range(150)]
    score = ImageTextSimilarity(encoder=EncoderSpec.shipped()).open()
    right, wrong = (
        score(Batch([sample(n, scenes.draw_scene(s), words(s)) for n, s in enumerate(drawn)])).to_numpy()
        for words in (lambda s: scenes.captions(s)[0], lambda s: one_fact_changed(s, rng))
    )
    assert (right > wrong).mean() >= 0.8  # chance is 0.5


def test_spoilt_pictures_are_told_from_sound_ones() -> None:
    rng = random.Random("unseen looks")
    head = Aesthetic(encoder=EncoderSpec.shipped(), head=HeadSpec.shipped("aesthetic")).open()

    def scores(look: str, count: int) -> np.ndarray:
        images = [scenes.draw_scene(scenes.make_scene(rng)) for _ in range(count)]
        shown = [spoil(image, look, rng) if look else image for image in images]
        return head(Batch([sample(n, image, "x") for n, image in enumerate(shown)])).to_numpy()

    sound = scores("", 200)
    spoilt = {look: scores(look, 40) for look in LOOKS}
    assert auc(sound, np.concatenate(list(spoilt.values()))) >= 0.9
    assert {look: auc(sound, found) >= 0.8 for look, found in spoilt.items()} == dict.fromkeys(LOOKS, True)


def test_assets_are_small_and_hold_tensors_only() -> None:
    files = [path for path in ASSETS.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= LARGEST
    assert {path.suffix for path in files} <= {".json", ".safetensors", ".jinja"}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["colour", "shape", "count", "relation", "size", "background"])
def test_recaptions_state_facts_rightly(kind: str, recaptions: tuple[list[scenes.Scene], list[str]]) -> None:
    assert shares(*recaptions)[kind] >= 0.85


@pytest.fixture(scope="module")
def recaptions() -> tuple[list[scenes.Scene], list[str]]:
    """Unseen small scenes, and what the captioner says of them."""
    drawn = unseen(100, 0)
    return drawn, describe(drawn, OwnModel(path="shipped:captioner", batch=50))

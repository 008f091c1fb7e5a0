"""What the small captioner's encoder is taught of each patch is what the drawn picture shows there."""

import random
from itertools import pairwise

import numpy as np
import pytest

from curation.sources.synthetic import scenes
from examples.assets import vision


@pytest.mark.parametrize("seed", range(20))
def test_patches_are_said_to_show_what_is_drawn_there(seed: int) -> None:
    scene = scenes.make_scene(random.Random(seed), scenes.SMALL)
    pixels = np.asarray(scenes.draw_scene(scene))
    owners = vision.shape_of_patches(scene).reshape(scene.height // 14, scene.width // 14)
    assert set(owners.ravel().tolist()) >= set(range(len(scene.shapes)))
    for (row, column), owner in np.ndenumerate(owners):
        patch = pixels[14 * row : 14 * row + 14, 14 * column : 14 * column + 14].reshape(-1, 3)
        share = {
            number: (patch == scenes.COLOURS[shape.colour]).all(axis=1).mean()
            for number, shape in enumerate(scene.shapes)
        }
        if owner < 0:
            assert max(share.values()) < 1 / 12
        else:
            assert share[owner] == max(share.values()) >= 1 / 12.5


@pytest.mark.parametrize("seed", range(20))
def test_phrases_of_a_scene_are_among_those_that_are_taught(seed: int) -> None:
    known, scene = set(vision.all_phrases()), scenes.make_scene(random.Random(seed), scenes.SMALL)
    said = vision.phrases_of_all(scene) + [
        phrase for number in range(len(scene.shapes)) for phrase in vision.phrases_of_shape(scene, number)
    ]
    assert set(said) <= known
    assert len(known) == len(vision.all_phrases())


def test_shapes_of_a_small_scene_are_told_in_reading_order() -> None:
    for seed in range(50):
        shapes = scenes.make_scene(random.Random(seed), scenes.SMALL).shapes
        assert [(s.column, s.row) for s in shapes] == sorted((s.column, s.row) for s in shapes)
        assert all(scenes.relation(one, other) in ("left of", "above") for one, other in pairwise(shapes))

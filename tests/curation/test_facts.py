"""The grader: what the grammar writes is read back whole, and one wrong fact costs its own kind and nothing else."""

import random
from dataclasses import replace

import pytest

from curation.sources.synthetic import scenes
from curation.sources.synthetic.facts import KINDS, Claims, grade, read_claims, shares
from curation.sources.synthetic.scenes import SMALL, STANDARD, SceneStyle, captions, make_scene


@pytest.mark.parametrize("style", [STANDARD, SMALL])
def test_right_captions_are_right_in_every_kind(style: SceneStyle) -> None:
    rng = random.Random("right")
    drawn = [make_scene(rng, style) for _ in range(500)]
    assert shares(drawn, [captions(scene)[0] for scene in drawn]) == dict.fromkeys(KINDS, 1.0)
    assert all(grade(scene, captions(scene)[1])["count"] for scene in drawn)


def scene_of(number: int) -> scenes.Scene:
    rng = random.Random("wrong")
    return next(scene for scene in iter(lambda: make_scene(rng, SMALL), None) if len(scene.shapes) == number)


def wrong_kinds(scene: scenes.Scene, text: str) -> set[str]:
    return {kind for kind, right in grade(scene, text).items() if not right}


def test_one_wrong_fact_costs_its_kind_and_the_whole() -> None:
    scene = scene_of(3)
    first, *others = scene.shapes
    unused = next(colour for colour in scenes.COLOURS if colour not in {shape.colour for shape in scene.shapes})

    def told(**change: str) -> str:
        return captions(replace(scene, shapes=(replace(first, **change), *others)))[0]

    form = next(form for form in scenes.FORMS if form != first.form)
    size = "large" if first.size == "small" else "small"
    assert wrong_kinds(scene, told(form=form)) == {"shape", "whole"}
    assert wrong_kinds(scene, told(size=size)) == {"size", "whole"}
    assert wrong_kinds(scene, told(colour=unused)) == {"colour", "relation", "whole"}  # nobody is there to stand so
    right = captions(scene)[0]
    assert wrong_kinds(scene, right.replace(f"a {scene.ground} back", "a red back")) >= {"background", "whole"}
    where = scenes.relation(*scene.shapes[:2])
    other = {"left of": "right of", "right of": "left of", "above": "below", "below": "above"}[where]
    assert wrong_kinds(scene, right.replace(where, other)) == {"relation", "whole"}
    assert wrong_kinds(scene, right + " A picture of two coloured shapes.") == {"count", "whole"}


def test_exchanged_forms_are_right_apart_and_wrong_as_a_whole() -> None:
    scene = next(
        s for s in (make_scene(random.Random(n), SMALL) for n in range(99)) if len({x.form for x in s.shapes}) == 2
    )
    first, second, *others = scene.shapes
    if first.form == second.form:
        second, others = others[0], [second]
    swapped = (replace(first, form=second.form), replace(second, form=first.form), *others)
    ordered = sorted(swapped, key=lambda shape: list(scenes.COLOURS).index(shape.colour))
    assert wrong_kinds(scene, captions(replace(scene, shapes=tuple(ordered)))[0]) == {"whole"}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "...",
        "A small red",
        "A red circle on a white background.",
        "A small red circle on a red background.",
        "x" * 10_000,
    ],
)
def test_what_the_grammar_does_not_hold_states_nothing(text: str) -> None:
    claims = read_claims(text)
    assert (claims.shapes, claims.ground, claims.number, claims.relations) == ((), "", None, ())
    assert not any(grade(scene_of(2), text).values())


def test_sentences_are_read_one_by_one() -> None:
    text = "A small red circle on a mint background. It is so nice. The red circle is above the blue square."
    assert read_claims(text) == Claims(
        shapes=(("small", "red", "circle"),),
        ground="mint",
        number=None,
        relations=((("red", "circle"), "above", ("blue", "square")),),
        unread=("It is so nice.",),
    )

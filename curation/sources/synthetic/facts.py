"""Facts: what a caption says of a scene, read by the grammar that scenes are captioned with, and whether it is so."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from curation.sources.synthetic.scenes import COLOURS, FORMS, GROUNDS, NUMBERS, WIDTH_NAMES, Scene, relation

# Kinds of facts; `whole` is all of them, said of the right shapes, in sentences that can all be read.
KINDS = ("colour", "shape", "count", "relation", "size", "background", "whole")
RELATIONS = ("left of", "right of", "above", "below")

_NAME = rf"({'|'.join(COLOURS)}) ({'|'.join(FORMS)})"
_SHAPE = rf"an? ({'|'.join(WIDTH_NAMES)}) {_NAME}"
_LIST = re.compile(
    rf"({_SHAPE}(?:, {_SHAPE})*(?: and {_SHAPE})?) on an? ({'|'.join(GROUNDS)}) background\.", re.IGNORECASE
)
_RELATION = re.compile(rf"The {_NAME} is ({'|'.join(RELATIONS)}) the {_NAME}\.", re.IGNORECASE)
_NUMBER = re.compile(rf"A picture of ({'|'.join(NUMBERS)}) coloured shapes?\.", re.IGNORECASE)
_SENTENCE = re.compile(r"[^.]+\.?")

Name = tuple[str, str]  # colour, form


@dataclass(frozen=True, slots=True, kw_only=True)
class Claims:
    """What a caption says.

    shapes: size, colour and form of each shape that is listed. ground, number: "" and None where nothing is said.
    relations: who stands where as seen from whom. unread: sentences that the grammar does not hold.
    """

    shapes: tuple[tuple[str, str, str], ...]
    ground: str
    number: int | None
    relations: tuple[tuple[Name, str, Name], ...]
    unread: tuple[str, ...]


def read_claims(text: str) -> Claims:
    """Read a caption sentence by sentence; each counts as a whole or not at all."""
    shapes: list[tuple[str, str, str]] = []
    relations: list[tuple[Name, str, Name]] = []
    unread: list[str] = []
    ground, number = "", None
    for sentence in (found.strip() for found in _SENTENCE.findall(text)):
        if listed := _LIST.fullmatch(sentence):
            shapes += [(size.lower(), colour.lower(), form.lower()) for size, colour, form in _shapes(listed[1])]
            ground = str(listed[listed.re.groups]).lower()
        elif placed := _RELATION.fullmatch(sentence):
            colour, form, where, other_colour, other_form = (group.lower() for group in placed.groups())
            relations.append(((colour, form), where, (other_colour, other_form)))
        elif counted := _NUMBER.fullmatch(sentence):
            number = NUMBERS.index(counted[1].lower())
        elif sentence:
            unread.append(sentence)
    return Claims(shapes=tuple(shapes), ground=ground, number=number, relations=tuple(relations), unread=tuple(unread))


def grade(scene: Scene, text: str) -> dict[str, bool]:
    """Whether a caption states each kind of fact rightly.

    colour, shape, size: those of the listed shapes are those of the scene, each as often, whatever they are said to belong
    to. count: as many shapes are listed as there are, and any number that is said is theirs. relation (left out for a scene of
    one shape): one is stated, and all that are stated hold between the shapes of these colours. background: its colour.
    """
    claims, there = read_claims(text), [(shape.size, shape.colour, shape.form) for shape in scene.shapes]
    right = {
        "colour": _same(claims.shapes, there, 1),
        "shape": _same(claims.shapes, there, 2),
        "count": _counts(claims, len(there)),
        "relation": bool(claims.relations) and all(_holds(scene, claim) for claim in claims.relations),
        "size": _same(claims.shapes, there, 0),
        "background": claims.ground == scene.ground,
    }
    if len(there) < 2:
        del right["relation"]
    names = {(colour, form) for _, colour, form in there}
    named = {name for one, _, other in claims.relations for name in (one, other)}
    whole = sorted(claims.shapes) == sorted(there) and named <= names and not claims.unread
    return right | {"whole": whole and all(right.values())}


def shares(scenes: Sequence[Scene], texts: Sequence[str]) -> dict[str, float]:
    """Of each kind of fact, the share of scenes in which it is stated rightly, among those that have it."""
    graded = [grade(scene, text) for scene, text in zip(scenes, texts, strict=True)]
    found = {kind: [one[kind] for one in graded if kind in one] for kind in KINDS}
    return {kind: sum(right) / len(right) for kind, right in found.items() if right}


def _shapes(listed: str) -> list[tuple[str, str, str]]:
    return re.findall(_SHAPE, listed, re.IGNORECASE)


def _same(claimed: Sequence[tuple[str, str, str]], there: Sequence[tuple[str, str, str]], place: int) -> bool:
    return sorted(shape[place] for shape in claimed) == sorted(shape[place] for shape in there)


def _counts(claims: Claims, number: int) -> bool:
    """A number said and a list given must both be right, and there must be one of them."""
    said = [claims.number] if claims.number is not None else []
    listed = [len(claims.shapes)] if claims.shapes else []
    return bool(said or listed) and all(one == number for one in said + listed)


def _holds(scene: Scene, claim: tuple[Name, str, Name]) -> bool:
    """Colours are unique in a scene, so that they say which shapes are meant."""
    by_colour = {shape.colour: shape for shape in scene.shapes}
    (first, _), where, (second, _) = claim
    if first == second or first not in by_colour or second not in by_colour:
        return False
    return relation(by_colour[first], by_colour[second]) == where

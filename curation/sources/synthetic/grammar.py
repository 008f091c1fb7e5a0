"""Grammar: plain text documents, sentence by sentence from a seed, on one topic each."""

import random

_TOPICS: dict[str, dict[str, tuple[str, ...]]] = {
    "harbour": {
        "who": ("the captain", "an old sailor", "the harbour master", "a young diver", "the crew of the ferry"),
        "what": ("the ropes", "a broken lantern", "the morning tide", "a crate of oranges", "the northern pier"),
        "where": ("at the quay", "behind the lighthouse", "in the fog", "near the fish market"),
    },
    "garden": {
        "who": ("the gardener", "a neighbour", "the botanist", "a boy with a watering can", "the beekeeper"),
        "what": ("the tomato plants", "a row of young trees", "the compost heap", "the first roses", "a hedge"),
        "where": ("by the south wall", "under the glass roof", "along the gravel path", "close to the pond"),
    },
    "workshop": {
        "who": ("the carpenter", "an apprentice", "the watchmaker", "a customer", "the inspector"),
        "what": ("an oak table", "the steel spring", "a wooden clock", "the new drill", "a box of screws"),
        "where": ("on the long bench", "in the back room", "beside the furnace", "under a bright lamp"),
    },
    "library": {
        "who": ("the librarian", "a student of history", "the translator", "a quiet visitor", "the archivist"),
        "what": ("a map of the coast", "three letters", "the oldest catalogue", "a torn chapter", "the index cards"),
        "where": ("in the reading hall", "between two shelves", "at the front desk", "on the upper floor"),
    },
}
_VERBS = ("repaired", "found", "described", "measured", "moved", "painted", "forgot", "admired", "counted", "lost")
_WHEN = ("early in the morning", "after the rain", "before noon", "on the last day of the week", "in spring")
_WHY = (
    "because nobody else had the time",
    "and it took longer than everyone had thought",
    "although the work was not finished",
    "so that the others could rest for a while",
    "which was the reason for the delay",
)
_PATTERNS = (
    "{Who} {verb} {what} {where}.",
    "{When}, {who} {verb} {what}, {why}.",
    "It was {who} who {verb} {what} {where}, {why}.",
    "{Who} said that {other} had {verb} {what} {when}.",
    "There were {number} people {where}, but only {who} {verb} {what}.",
)


def sentence(rng: random.Random, topic: str) -> str:
    """One sentence about a topic."""
    words = _TOPICS[topic]
    who, other = rng.sample(words["who"], 2)
    when = rng.choice(_WHEN)
    return rng.choice(_PATTERNS).format(
        Who=who[0].upper() + who[1:],
        who=who,
        other=other,
        verb=rng.choice(_VERBS),
        what=rng.choice(words["what"]),
        where=rng.choice(words["where"]),
        When=when[0].upper() + when[1:],
        when=when,
        why=rng.choice(_WHY),
        number=rng.randint(3, 90),
    )


def document(rng: random.Random) -> str:
    """Two to five paragraphs about one topic."""
    topic = rng.choice(list(_TOPICS))
    paragraphs = [" ".join(sentence(rng, topic) for _ in range(rng.randint(3, 6))) for _ in range(rng.randint(2, 5))]
    return "\n\n".join(paragraphs)


def gibberish(rng: random.Random) -> str:
    """What a broken encoding or a keyboard test leaves behind: symbols and letters without words."""
    return " ".join(
        "".join(rng.choice("#@$%^&*~|<>xqzjkw0123456789") for _ in range(rng.randint(2, 14)))
        for _ in range(rng.randint(20, 60))
    )


def exchange(rng: random.Random) -> list[tuple[str, str]]:
    """Questions and answers without media."""
    topic = rng.choice(list(_TOPICS))
    told = sentence(rng, topic)
    left, right = rng.randint(2, 50), rng.randint(2, 50)
    return [
        (f"Repeat this sentence: {told}", told),
        (f"What is {left} plus {right}?", f"{left} plus {right} is {left + right}."),
    ]

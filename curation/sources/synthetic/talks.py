"""Talks: conversations about scenes, pages and clips, in the format that VideoLLaMA3 trains from."""

import random
from typing import Any

from curation.sources.synthetic import clips, grammar, scenes
from curation.sources.synthetic.pages import make_page
from curation.sources.synthetic.world import SUFFIXES, World, name_of

Exchange = list[tuple[str, str]]
_SYSTEM = "You answer questions about pictures and clips in one short sentence."
# Kinds of conversation, in turn; in a small world those alone that are asked about small scenes and clips.
_KINDS = ("scene", "video", "scene", "stream", "page", "two_scenes", "text")
_SMALL_KINDS = ("scene", "video", "scene", "video", "two_scenes")


def conversation(world: World, index: int, defect: str) -> tuple[dict[str, Any], str]:
    """A conversation without its id, and the defect it really has: without pictures none of them can be missing."""
    rng = world.rng("conversations", index)
    kinds = _SMALL_KINDS if world.small else _KINDS
    fields = _KIND[kinds[index % len(kinds)]](world, rng) or _about_nothing(world, rng)
    media = fields.get("image") or fields.get("video") or []
    name = media if isinstance(media, str) else next(iter(media), "")
    if defect == "missing_media":
        if not name:
            return fields, ""
        key = "image" if "image" in fields else "video"
        fields[key] = [f"lost_{name}"]
    elif defect == "two_tags_one_picture":
        if "image" not in fields:
            return fields, ""
        fields["image"] = [name]
        human = next(message for message in fields["conversations"] if message["from"] == "human")
        human["value"] = "<image>\n<image>\n" + human["value"].replace("<image>\n", "")
    elif defect == "empty_answer":
        if "conversations" not in fields:
            return fields, ""
        for message in fields["conversations"]:
            message["value"] = "" if message["from"] == "gpt" else message["value"]
    return fields, defect


def _messages(exchange: Exchange, *, first: str = "", system: str = "") -> list[dict[str, str]]:
    """Messages {from, value}; `first` stands before the first question."""
    messages = [{"from": "system", "value": system}] if system else []
    for number, (question, answer) in enumerate(exchange):
        value = f"{first}{question}" if number == 0 else question
        messages += [{"from": "human", "value": value}, {"from": "gpt", "value": answer}]
    return messages


def _flawless(world: World, corpus: str, rng: random.Random) -> int | None:
    """Some sample of a corpus that nothing is wrong with."""
    count = world.counts[corpus]
    if not count:
        return None
    index = world.original(corpus, rng.randrange(count))
    return None if world.defect(corpus, index) else index


def _about_scene(world: World, rng: random.Random) -> dict[str, Any] | None:
    index = _flawless(world, "image_text", rng)
    if index is None:
        return None
    scene = world.scene(index)
    # A model that learns in minutes is asked everything.
    asked: Exchange = (
        scenes.all_questions(scene, rng) if world.small else scenes.questions(scene, rng)[: rng.randint(1, 3)]
    )
    if rng.random() < (0.1 if world.small else 0.3):
        described = ("Describe the picture.", scenes.captions(scene)[0])
        # In a small world alone: what is asked after it could be read off it, and nothing would be learnt from the picture.
        asked = [described] if world.small else [described, *asked]
    system = _SYSTEM if rng.random() < 0.3 else ""
    return {"image": [_file("image_text", index)], "conversations": _messages(asked, first="<image>\n", system=system)}


def _about_two_scenes(world: World, rng: random.Random) -> dict[str, Any] | None:
    first, second = (_flawless(world, "image_text", rng) for _ in range(2))
    if first is None or second is None:
        return None
    left, right = (len(world.scene(index).shapes) for index in (first, second))
    answer = "Both have the same number." if left == right else f"The {'first' if left > right else 'second'} one."
    return {
        "image": [_file("image_text", first), _file("image_text", second)],
        "conversations": _messages(
            [("Which of the two pictures has more shapes?", answer)], first="<image>\n<image>\n"
        ),
    }


def _about_page(world: World, rng: random.Random) -> dict[str, Any] | None:
    index = _flawless(world, "documents", rng)
    if index is None:
        return None
    page = make_page(world.rng("documents", index))
    asked = [(page.question, page.answer), ("What does the page say?", page.text)]
    # No tag here: by the format's rule the picture then stands first.
    return {"image": _file("documents", index), "conversations": _messages(asked[: rng.randint(1, 2)])}


def _about_clip(world: World, rng: random.Random) -> dict[str, Any] | None:
    index = _flawless(world, "videos", rng)
    if index is None:
        return None
    asked = clips.questions(world.clip(index), rng)
    return {"video": [_file("videos", index)], "conversations": _messages(asked, first="<video>\n")}


def _beside_clip(world: World, rng: random.Random) -> dict[str, Any] | None:
    index = _flawless(world, "videos", rng)
    if index is None:
        return None
    clip = world.clip(index)
    return {
        "video": [_file("videos", index)],
        "stream": True,
        "start_time": 0.0,
        "end_time": clip.duration,
        "conversation": [
            {"role": "user", "content": f"Tell me when the {clip.name} stops.", "time": 0.0},
            {"role": "assistant", "content": f"The {clip.name} has stopped.", "time": clip.stop},
        ],
    }


def _about_nothing(_: World, rng: random.Random) -> dict[str, Any]:
    return {"conversations": _messages(grammar.exchange(rng))}


def _file(corpus: str, index: int) -> str:
    return f"{name_of(corpus, index)}.{SUFFIXES[corpus]}"


_KIND = {
    "scene": _about_scene,
    "two_scenes": _about_two_scenes,
    "page": _about_page,
    "video": _about_clip,
    "stream": _beside_clip,
    "text": _about_nothing,
}

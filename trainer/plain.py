"""Plain: samples of WebDataset tars that curation did not write: a picture or clip with a caption or a conversation.

What a sample may hold, by the endings of its members:
    jpg jpeg png webp gif bmp tiff / mp4 mkv webm mov avi     media, in the order of their names
    json with "turns" or "conversations"                      a conversation; places of media are <image> and <video>
    json with "caption" or "text", txt, caption               a caption of the media, or a text if there are none
Markup of media inside captions is not a place: the text is taken as it is only if it holds none.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

IMAGES = ("jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff")
VIDEOS = ("mp4", "mkv", "webm", "mov", "avi")
CAPTIONS = ("txt", "caption")
ROLES = {"human": "user", "gpt": "assistant", "user": "user", "assistant": "assistant", "system": "system"}


def plain_fields(members: Mapping[str, bytes], description: Any) -> dict[str, Any]:
    """Turns and media of a sample, as curation would have written them.

    Args:
        description: what its json member holds, None without one.

    Raises:
        ValueError: it has no conversation and no caption, or a conversation in no known form.
    """
    media = [
        {"kind": "image" if ending in IMAGES else "video", "format": ending, "member": name}
        for name in sorted(members)
        if (ending := ending_of(name)) in IMAGES or ending in VIDEOS
    ]
    described = description if isinstance(description, dict) else {}
    turns = described.get("turns") or described.get("conversations")
    if turns is not None:
        return {"turns": [_turn(turn) for turn in turns], "media": media}
    caption = _caption(members, described)
    places = "".join(f"<{medium['kind']}>\n" for medium in media)
    answer = {"role": "assistant", "text": caption}
    return {"turns": [{"role": "user", "text": places.rstrip("\n")}, answer] if media else [answer], "media": media}


def ending_of(name: str) -> str:
    """`a/b.0.JPG` -> `jpg`."""
    return name.rpartition(".")[2].lower()


def _turn(turn: Any) -> dict[str, str]:
    if not isinstance(turn, dict):
        raise ValueError(f"turn: found {type(turn).__name__}, wanted an object with from and value, or role and text")
    role, text = turn.get("from", turn.get("role")), turn.get("value", turn.get("text", turn.get("content")))
    if role not in ROLES or not isinstance(text, str):
        raise ValueError(
            f"turn: found role {role!r} and text {type(text).__name__}, wanted {sorted(ROLES)} and a string"
        )
    return {"role": ROLES[role], "text": text}


def _caption(members: Mapping[str, bytes], described: Mapping[str, Any]) -> str:
    texts = [described.get("caption"), described.get("text")]
    texts += [data.decode("utf-8") for name, data in sorted(members.items()) if ending_of(name) in CAPTIONS]
    found = next((text.strip() for text in texts if isinstance(text, str) and text.strip()), None)
    if found is None:
        raise ValueError(f"sample: found members {sorted(map(ending_of, members))}, wanted a caption or a conversation")
    if "<image>" in found or "<video>" in found:
        raise ValueError("caption: found <image> or <video> in it, which would be taken for the place of a medium")
    return found

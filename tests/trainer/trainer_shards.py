"""Small datasets for the trainer's tests: written with the project's own writer, counted with its own rules."""

import hashlib
import io
import json
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from curation.shards import Manifest, Member, ShardEntry, ShardWriter, index_path, write_index, write_manifest
from model.chat import Visual, count_tokens, split_turns
from model.geometry import Medium, VisualRules, plan_grids
from model.stages import STAGE_RULES
from model.tokenizer import Tokenizer

COLOURS = {"red": (220, 30, 30), "green": (30, 200, 30), "blue": (30, 30, 220), "white": (240, 240, 240)}


@dataclass(frozen=True, kw_only=True)
class Made:
    """A sample to write: its branch, turns and PNG images (bytes, height, width)."""

    branch: str
    turns: Sequence[dict[str, Any]]
    images: Sequence[tuple[bytes, int, int]] = ()


def colour_image(name: str, height: int = 56, width: int = 56) -> tuple[bytes, int, int]:
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), COLOURS[name]).save(buffer, "PNG")
    return buffer.getvalue(), height, width


def colour_sample(number: int) -> Made:
    """Question and answer about one picture of one colour."""
    random = np.random.default_rng([7, number])
    name = list(COLOURS)[number % len(COLOURS)]
    picture = colour_image(name, *(14 * random.integers(4, 10, 2)).tolist())
    turns = [
        {"role": "user", "text": "<image>\nWhat is the colour?"},
        {"role": "assistant", "text": f"The colour is {name}."},
    ]
    return Made(branch="image_text", turns=turns, images=[picture])


def text_sample(number: int) -> Made:
    random = np.random.default_rng([8, number])
    words = " ".join(
        random.choice(["one", "two", "three", "red", "box", "blue", "moves", "left"], random.integers(5, 60))
    )
    return Made(branch="text", turns=[{"role": "assistant", "text": words}])


def write_dataset(
    directory: Path,
    samples: Sequence[Made],
    *,
    rules: VisualRules = STAGE_RULES["stage3"],
    shard_samples: int = 16,
    counted: dict[str, Any] | None = None,
) -> Path:
    """Write a finished dataset directory; `counted` overrides what the index says that it was counted with."""
    tokenizer = Tokenizer.shipped()
    (directory / "shards").mkdir(parents=True, exist_ok=True)
    entries, branches = [], defaultdict[str, Counter[str]](Counter)
    for number, first in enumerate(range(0, len(samples), shard_samples)):
        path = directory / "shards" / f"{number:06d}.tar"
        rows = []
        with ShardWriter(path) as shard:
            for place, made in enumerate(samples[first : first + shard_samples], first):
                rows.append(_add(shard, place, made, rules, tokenizer))
        for row in rows:
            counts = {name: row[name] for name in ("text_tokens", "visual_tokens", "visual_tokens_kept")}
            branches[row["branch"]].update(samples=1, **counts)
        write_index(index_path(path), rows, {"rules": asdict(rules), **(counted or {})})
        digest = hashlib.sha256(index_path(path).read_bytes()).hexdigest()
        entries.append(
            ShardEntry(
                name=path.name,
                sha256=shard.sha256,
                index_sha256=digest,
                samples=shard.samples,
                bytes=shard.bytes,
                text_tokens=sum(row["text_tokens"] for row in rows),
                visual_tokens=sum(row["visual_tokens_kept"] for row in rows),
            )
        )
    write_manifest(
        directory,
        Manifest(
            stage="stage3",
            recipe={},
            recipe_digest="",
            seed=0,
            counted_with={},
            shards=tuple(entries),
            branches={name: dict(counts) for name, counts in branches.items()},
            mixture={},
            licences={},
            origins={},
        ),
    )
    return directory


def _add(shard: ShardWriter, number: int, made: Made, rules: VisualRules, tokenizer: Tokenizer) -> dict[str, Any]:
    key = hashlib.sha256(f"{number} {made.turns}".encode()).hexdigest()[:32]
    names = [f"{key}.{i}.png" for i in range(len(made.images))]
    media = [
        {
            "kind": "image",
            "format": "png",
            "member": name,
            "width": width,
            "height": height,
            "duration": None,
            "fps": None,
        }
        for name, (_, height, width) in zip(names, made.images, strict=True)
    ]
    fields = {"id": key, "branch": made.branch, "turns": list(made.turns), "media": media, "origin": {}}
    data = [json.dumps(fields).encode(), *(image for image, _, _ in made.images)]
    suffixes = [".json", *(f".{i}.png" for i in range(len(made.images)))]
    written = shard.add(key, [Member(suffix=s, size=len(d), pieces=[d]) for s, d in zip(suffixes, data, strict=True)])
    grids = plan_grids([Medium("image", height, width) for _, height, width in made.images], rules)
    tokens = [grid.tokens(rules.image_merge) for grid in grids]
    turns = split_turns(made.turns, ["image"] * len(media))
    text, loss = count_tokens(turns, [Visual(kind="image", tokens=(n,)) for n in tokens], tokenizer)
    cut = [
        {
            "grid_frames": 1,
            "grid_rows": grid.rows,
            "grid_columns": grid.columns,
            "merge": rules.image_merge,
            "kept": kept,
        }
        for grid, kept in zip(grids, tokens, strict=True)
    ]
    return {
        "key": key,
        "branch": made.branch,
        "members": [{"name": name, "offset": offset, "size": size} for name, offset, size in written],
        "media": [medium | extra for medium, extra in zip(media, cut, strict=True)],
        "text_tokens": text,
        "loss_tokens": loss,
        "patches": sum(grid.patches for grid in grids),
        "visual_tokens": sum(tokens),
        "visual_tokens_kept": sum(tokens),
    }

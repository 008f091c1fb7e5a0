"""Vision: the captioner's vision encoder, trained contrastively with phrases about small scenes, patch by patch.

Every patch is paired with the phrases that are so of what stands there, and with those that are so of the whole scene: so it learns
to say what a language model then reads. (With a picture as a whole, by its likest patch, how shapes stand to one another was said
by some patch, and never read; with the mean of the patches it took ten times the pictures.)

Shapes: B pictures of a step, P patches, E vision width, F phrases, D width of the common space.

Source: RegionCLIP, arXiv:2112.09106 (regions and phrases); SigLIP, arXiv:2303.15343 (each pair by itself).
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw
from torch import Tensor, nn

from curation.sources.synthetic import scenes
from curation.sources.synthetic.facts import RELATIONS
from model.attention import Segments
from model.config import VisionConfig
from model.geometry import Grid
from model.rope import media_coordinates
from model.videollama3 import initialise
from model.vision import PatchEmbedding, VisionEncoder
from model.visuals import patchify

WIDTH = 256
ORDINALS = ("first", "second", "third")  # of the shapes as one reads the scene
SIDES = ("left", "middle", "right", "top", "centre", "bottom")
_WORDS = 4  # of the longest phrase


@dataclass(frozen=True, kw_only=True)
class Training:
    """How long and how fast. Steps of `batch` fresh pictures, so that nothing is ever seen twice."""

    steps: int = 4000
    batch: int = 32
    rate: float = 2e-3
    seed: int = 0


def all_phrases() -> list[str]:
    """Everything that may be said of a patch in a few words, each fact by itself and bound to others.

    By itself, so that the facts of a patch add up and can be read one by one: with bound ones alone, as "red circle", the language
    model learnt the colours in a hundred steps and the forms in none of five hundred.
    """
    colours, forms, sizes = scenes.COLOURS, scenes.FORMS, scenes.WIDTH_NAMES
    most = scenes.SMALL.most
    return [
        *colours,
        *forms,
        *sizes,
        *(f"{colour} {form}" for colour in colours for form in forms),
        *(f"{size} {colour}" for size in sizes for colour in colours),
        *(f"{size} {form}" for size in sizes for form in forms),
        *ORDINALS[:most],
        *(f"{where} {other}" for where in RELATIONS for other in colours),
        *(f"at the {side}" for side in SIDES),
        *(f"{ground} background" for ground in scenes.GROUNDS),
        *(f"{number} shapes" for number in scenes.NUMBERS[1 : most + 1]),
        *(f"{number} {form}s" for number in scenes.NUMBERS[: most + 1] for form in forms),
        *(f"first {where} second" for where in ("left of", "above")),
    ]


def phrases_of_shape(scene: scenes.Scene, number: int) -> list[str]:
    """What is so of the patches of a shape."""
    one = scene.shapes[number]
    colour, form, size = one.colour, one.form, one.size
    across = SIDES[3 * one.x // scene.width]
    down = SIDES[3 + 3 * one.y // scene.height]
    others = (other for other in scene.shapes if other is not one)
    return [
        colour, form, size, f"{colour} {form}", f"{size} {colour}", f"{size} {form}", ORDINALS[number],
        *(f"{scenes.relation(one, other)} {other.colour}" for other in others),
        f"at the {across}", f"at the {down}",
    ]  # fmt: skip


def phrases_of_all(scene: scenes.Scene) -> list[str]:
    """What is so of the whole scene, and said at every patch: a language model reads in a hundred steps what stands everywhere, and in
    thousands what it must look for.
    """
    forms = [shape.form for shape in scene.shapes]
    said = [f"{scene.ground} background", f"{scenes.NUMBERS[len(forms)]} shapes"]
    said += [f"{scenes.NUMBERS[forms.count(form)]} {form}s" for form in scenes.FORMS]
    if len(scene.shapes) > 1:
        said.append(f"first {scenes.relation(*scene.shapes[:2])} second")
    return said


def shape_of_patches(scene: scenes.Scene, patch: int = 14) -> np.ndarray:
    """int [P]: number of the shape that covers most of each patch, -1 where none covers a twelfth."""
    drawn = Image.new("L", (scene.width, scene.height), 0)
    canvas = ImageDraw.Draw(drawn)
    covered = []
    for shape in scene.shapes:
        drawn.paste(0, (0, 0, scene.width, scene.height))
        scenes.draw_form(canvas, shape.form, 1, x=shape.x, y=shape.y, width=shape.width)
        tiles = np.asarray(drawn).reshape(scene.height // patch, patch, scene.width // patch, patch)
        covered.append(tiles.sum(axis=(1, 3), dtype=np.int64).ravel())
    most = np.argmax(covered, axis=0)
    return np.where(np.max(covered, axis=0) >= patch * patch // 12, most, -1)


class PhraseEncoder(nn.Module):
    """Phrases of a few words to unit vectors: their words in order, through two layers."""

    def __init__(self, phrases: Sequence[str]) -> None:
        super().__init__()
        words = sorted({word for phrase in phrases for word in phrase.split()})
        numbers = {word: number for number, word in enumerate(words, 1)}
        rows = [[numbers[word] for word in phrase.split()] for phrase in phrases]
        self.register_buffer("ids", torch.tensor([row + [0] * (_WORDS - len(row)) for row in rows]))
        self.words = nn.Embedding(len(words) + 1, 48)
        self.layers = nn.Sequential(nn.Linear(48 * _WORDS, 256), nn.GELU(), nn.Linear(256, WIDTH))

    def forward(self) -> Tensor:
        """F D."""
        return F.normalize(self.layers(self.words(self.ids).flatten(1)), dim=1)


class Likeness(nn.Module):
    """How much pictures are like phrases, as log-odds."""

    def __init__(self, encoder: VisionEncoder, phrases: Sequence[str]) -> None:
        super().__init__()
        self.encoder = encoder
        self.project = nn.Linear(encoder.config.hidden, WIDTH)
        self.phrases = PhraseEncoder(phrases)
        self.scale, self.bias = nn.Parameter(torch.tensor(1.0)), nn.Parameter(torch.tensor(-7.0))

    def forward(self, drawn: Sequence[scenes.Scene]) -> Tensor:
        """P F: patches of the first picture, then of the next."""
        pixels = [np.asarray(scenes.draw_scene(scene))[None] for scene in drawn]
        patches = torch.from_numpy(np.concatenate([patchify(one, patch=14, merge=1) for one in pixels]))
        media = [(Grid(1, one.shape[1] // 14, one.shape[2] // 14), 1) for one in pixels]
        features = self.encoder(patches, media_coordinates(media), Segments.of([grid.patches for grid, _ in media]))
        return (self.project(features) @ self.phrases().T) * self.scale.exp() + self.bias


def fan_in(module: nn.Module) -> None:
    """Random weights by the width of what comes in. At these widths a deviation of 0.02 is so small that it takes hundreds of steps to
    grow out of.
    """
    initialise(module)
    for name, part in module.named_modules():
        if isinstance(part, nn.Linear | PatchEmbedding):
            last = name.endswith(("out_proj", "fc2", "o_proj", "down_proj"))  # what is added to the residual
            nn.init.normal_(part.weight, std=(0.4 if last else 1.0) * part.weight[0].numel() ** -0.5)


def train(config: VisionConfig, settings: Training) -> VisionEncoder:
    """Train an encoder from nothing."""
    torch.manual_seed(settings.seed)
    phrases = all_phrases()
    places = {phrase: place for place, phrase in enumerate(phrases)}
    encoder = VisionEncoder(config)
    fan_in(encoder)
    model, rng = Likeness(encoder, phrases), random.Random(f"vision {settings.seed}")
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.0, betas=(0.9, 0.98), weight_decay=0.01, fused=True)
    recent: list[float] = []
    for step in range(settings.steps):
        share = min(1.0, (step + 1) / 50) * 0.5 * (1 + math.cos(math.pi * step / settings.steps))
        for group in optimizer.param_groups:
            group["lr"] = settings.rate * share
        drawn = [scenes.make_scene(rng, scenes.SMALL) for _ in range(settings.batch)]
        drawn.sort(key=lambda scene: (scene.height, scene.width))  # pictures of a size are one call of the attention
        wanted = torch.cat([_wanted(scene, places) for scene in drawn])
        found = model(drawn)
        loss = F.binary_cross_entropy_with_logits(found, wanted, reduction="sum") / len(wanted)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        recent.append(float(((found > 0) == (wanted > 0)).all(dim=1).float().mean()))
        if (step + 1) % 100 == 0:
            right = sum(recent[-100:]) / 100
            print(
                f"vision: step {step + 1}/{settings.steps}  loss {float(loss.detach()):.3f}  all right {right:.1%}",
                flush=True,
            )
    return encoder


def _wanted(scene: scenes.Scene, places: Mapping[str, int]) -> Tensor:
    """P F: 1 where a phrase is so of a patch."""
    rows = torch.zeros(len(scene.shapes) + 1, len(places))  # the last is of the ground
    for number in range(len(scene.shapes)):
        rows[number, [places[phrase] for phrase in phrases_of_shape(scene, number)]] = 1
    rows[:, [places[phrase] for phrase in phrases_of_all(scene)]] = 1
    return rows[torch.from_numpy(shape_of_patches(scene))]

"""Layouts: how published checkpoints name the same parameters, and the names that the `video_llama_3` port gives them.

A rename is pure: names in, names out. What a layout holds that this model has no use for is named with the reason.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

# Old prefix -> port prefix; the first that matches is taken, so longer ones come first.
_WHOLE_MODEL = (
    # the port, as transformers saves it
    ("model.vision_model.", "model.vision_model."),
    ("model.language_model.", "model.language_model."),
    ("model.projector.", "model.projector."),
    # checkpoints of the original training code, whose encoder sits in a wrapper, then the original hub layout
    ("model.vision_encoder.vision_encoder.", "model.vision_model."),
    ("model.vision_encoder.", "model.vision_model."),
    ("model.mm_projector.", "model.projector."),
    ("model.embed_tokens.", "model.language_model.embed_tokens."),
    ("model.layers.", "model.language_model.layers."),
    ("model.norm.", "model.language_model.norm."),
    ("lm_head.", "lm_head."),
)
_VISION = (
    ("model.vision_encoder.vision_encoder.", "model.vision_model."),
    ("model.vision_encoder.", "model.vision_model."),
    ("model.vision_model.", "model.vision_model."),
    ("vision_encoder.vision_encoder.", "model.vision_model."),
    ("vision_encoder.", "model.vision_model."),
    ("vision_model.", "model.vision_model."),
    ("embeddings.", "model.vision_model.embeddings."),
    ("encoder.", "model.vision_model.encoder."),
    ("post_layernorm.", "model.vision_model.post_layernorm."),
    ("head.", "model.vision_model.head."),
)
_NOT_VISION = (
    "text_model.",
    "logit_scale",
    "logit_bias",
    "model.projector.",
    "model.mm_projector.",
    "model.language_model.",
    "model.embed_tokens.",
    "model.layers.",
    "model.norm.",
    "lm_head.",
)
_POSITION_TABLE = "model.vision_model.embeddings.position_embedding."
_POOLING_HEAD = "model.vision_model.head."
_ROTATION = ".rotary_emb.inv_freq"


@dataclass(frozen=True, kw_only=True)
class Renamed:
    """Port names of stored names, and why the others are left out."""

    names: dict[str, str]  # stored name -> port name; an unknown name maps to itself and is reported as unexpected
    dropped: dict[str, str]  # stored name -> reason


def rename_model(stored: Iterable[str]) -> Renamed:
    """Names of a whole VideoLLaMA3: the port's, the original hub's, or those of original training checkpoints."""
    return _rename(stored, _WHOLE_MODEL)


def rename_language(stored: Iterable[str]) -> Renamed:
    """Names of a plain Qwen2.5."""
    return _rename(stored, _WHOLE_MODEL)


def rename_vision(stored: Iterable[str]) -> Renamed:
    """Names of a SigLIP, a SigLIP vision model, a SigLIP-NaViT, or the encoder inside a whole VideoLLaMA3.

    The position table and the pooling head are dropped: the model rotates by row and column, and pools nothing.
    """
    stored = list(stored)
    dropped = {name: "not part of the vision encoder" for name in stored if name.startswith(_NOT_VISION)}
    renamed = _rename([name for name in stored if name not in dropped], _VISION)
    for name, port in renamed.names.items():
        if port.startswith(_POSITION_TABLE):
            dropped[name] = "position table: patches are rotated by row and column instead"
        elif port.startswith(_POOLING_HEAD):
            dropped[name] = "pooling head: every patch is a feature"
    kept = {name: port for name, port in renamed.names.items() if name not in dropped}
    return Renamed(names=kept, dropped=renamed.dropped | dropped)


def _rename(stored: Iterable[str], prefixes: tuple[tuple[str, str], ...]) -> Renamed:
    names: dict[str, str] = {}
    dropped: dict[str, str] = {}
    for name in stored:
        if name.endswith(_ROTATION):
            dropped[name] = "rotation frequencies: computed, not stored"
            continue
        match = next(((old, new) for old, new in prefixes if name.startswith(old)), None)
        names[name] = name if match is None else match[1] + name[len(match[0]) :]
    return Renamed(names=names, dropped=dropped)

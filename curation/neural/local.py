"""Local captioners: models in this process: our own checkpoints, and image-text-to-text models of transformers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from curation.neural.captioner import Caption, Captioner, CaptionerSpec, Request, in_groups
from curation.neural.encoder import ASSETS, SHIPPED
from curation.neural.files import MissingExtraError, fingerprint
from curation.operator import OperatorError
from curation.sample import SampleError


@dataclass(frozen=True, kw_only=True)
class OwnModel(CaptionerSpec):
    """A VideoLLaMA3 checkpoint of ours or in its published layouts: a directory or hub id; "shipped:captioner" comes along.

    batch: requests answered together. max_visual_tokens: replaces the model's own budget. Greedy, so answers repeat.
    """

    path: str
    batch: int = 8
    max_visual_tokens: int | None = None

    @property
    def directory(self) -> Path:
        """Where the checkpoint lies."""
        return ASSETS / self.path.removeprefix(SHIPPED) if self.path.startswith(SHIPPED) else Path(self.path)

    def identity(self) -> dict[str, Any]:
        """The weights, wherever they lie; a hub id is taken at its word."""
        weights = fingerprint(self.directory) if self.directory.is_dir() else self.path
        return {"own": weights, "max_visual_tokens": self.max_visual_tokens}

    def load(self) -> Captioner:
        """The model on this process's device."""
        return _load_own(self)


@dataclass(frozen=True, kw_only=True)
class TransformersModel(CaptionerSpec):
    """An image-text-to-text model of transformers: BLIP-2 for coarse captions, LLaVA, InternVL, Qwen2-VL and their like.

    model: a hub id or directory. precision: what it computes in. frames: of a video, shown as pictures. Greedy.
    """

    model: str
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    frames: int = 8
    batch: int = 1

    def identity(self) -> dict[str, Any]:
        """The weights and how they are run."""
        place = Path(self.model)
        weights = fingerprint(place) if place.is_dir() else self.model
        return {"transformers": weights, "precision": self.precision, "frames": self.frames, "batch": self.batch}

    def load(self) -> Captioner:
        """The model on this process's device."""
        return _load_transformers(self)


class LocalCaptioner:
    """Answers in order, a few requests at a time, with a function that answers a group."""

    def __init__(self, answer: Callable[[Sequence[Request]], Sequence[Caption]], batch: int) -> None:
        self._answer, self._batch = answer, batch

    def answers(
        self, requests: Sequence[Request], *, beat: Callable[[int], None], counts: Counter[str]
    ) -> Iterator[tuple[int, Caption | SampleError]]:
        """Answers in order."""
        for number, answer in in_groups(requests, self._batch, self._answer, beat):
            if isinstance(answer, Caption):
                counts["caption_input_tokens"] += answer.input_tokens
                counts["caption_output_tokens"] += answer.output_tokens
            yield number, answer


@lru_cache(maxsize=2)
def _load_own(spec: OwnModel) -> LocalCaptioner:
    try:
        from curation.neural.own_model import own_answers
    except ModuleNotFoundError as error:
        raise MissingExtraError("torch", "train") from error
    place: str | Path = spec.directory if spec.path.startswith(SHIPPED) else spec.path
    try:
        return LocalCaptioner(own_answers(place, spec.max_visual_tokens), spec.batch)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise OperatorError(
            f"captioner {spec.path}: cannot be loaded ({error}): name a VideoLLaMA3 checkpoint"
        ) from error


@lru_cache(maxsize=2)
def _load_transformers(spec: TransformersModel) -> LocalCaptioner:
    try:
        from curation.neural.transformers_model import transformers_answers
    except ModuleNotFoundError as error:
        raise MissingExtraError("transformers", "train") from error
    try:
        return LocalCaptioner(transformers_answers(spec.model, spec.precision, spec.frames), spec.batch)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise OperatorError(
            f"captioner {spec.model}: cannot be loaded ({str(error)[:300]}): name an image-text-to-text model of transformers"
        ) from error

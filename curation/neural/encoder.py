"""Encoder: pictures and texts as unit vectors in one space, by a published model.

Shapes: B pictures or texts, D width of the embedding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np

from curation.neural.files import MissingExtraError, fingerprint
from curation.operator import OperatorError, RecipeError, digest

ASSETS = Path(__file__).parent / "assets"
SHIPPED = "shipped:"

Picture = Callable[[], np.ndarray]


@dataclass(frozen=True, kw_only=True)
class EncoderSpec:
    """Which encoder, and how it is run; all of it is part of a score's identity.

    model: with open_clip an architecture ("ViT-B-32", "ViT-SO400M-14-SigLIP-384"), "hf-hub:owner/name" or a directory in the
    hub's format; with transformers a hub id or directory of a CLIP or SigLIP; "shipped:clip" is the small one that comes along.
    pretrained: an open_clip tag ("laion2b_s34b_b79k") or a checkpoint file; not for directories and hub ids.
    precision: "float32", or what the device computes in ("bfloat16", "float16").
    batch: pictures or texts per inference. The last group is filled up to it, so that a picture's embedding never depends on
    its neighbours or on how many there are; passes give several groups at a time, so that filling up
    adds little. frames: of a video, evenly over its length; its embedding is their mean.
    """

    model: str
    pretrained: str = ""
    library: Literal["open_clip", "transformers"] = "open_clip"
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    batch: int = 8
    frames: int = 8

    def __post_init__(self) -> None:
        if not self.model or self.batch < 1 or self.frames < 1:
            raise RecipeError(f"{self}: wanted a model, batch >= 1 and frames >= 1")

    @classmethod
    def shipped(cls) -> EncoderSpec:
        """The small open_clip model that `make assets` trains on synthetic scenes. Knows shapes and colours, no photographs."""
        return cls(model=f"{SHIPPED}clip")

    @property
    def short_side(self) -> int:
        """Encoders look at whole pictures (see `Operator.short_side`), so that one decode serves all."""
        return 0

    @property
    def directory(self) -> Path | None:
        """The local directory that `model` names, if it does."""
        if self.model.startswith(SHIPPED):
            return ASSETS / self.model.removeprefix(SHIPPED)
        path = Path(self.model.removeprefix("local-dir:"))
        return path if path.is_dir() else None

    def identity(self) -> dict[str, Any]:
        """What a score's identity takes up beside the fields: the digest of local weights, wherever they lie."""
        places = [self.directory, Path(self.pretrained) if self.pretrained else None]
        return {"weights": [fingerprint(place) for place in places if place is not None and place.exists()]}

    @property
    def key(self) -> str:
        """Name under which embeddings of this encoder are shared and kept."""
        return f"embedding-{digest(self)}"

    def load(self) -> Encoder:
        """The encoder on this process's device; loaded once per process.

        Raises:
            RecipeError: torch or the library is not installed. OperatorError: no such model, or its weights do not fit.
        """
        return _load(self)


class Tower(Protocol):
    """What a library gives: preparation in numpy, inference on arrays of a fixed number of rows."""

    def prepare(self, pixels: np.ndarray) -> np.ndarray:
        """uint8 [rows, columns, 3] to float32 [3, side, side], as the model was trained."""
        ...

    def encode_images(self, prepared: np.ndarray) -> np.ndarray:
        """float32 [B, 3, side, side] to [B, D], not yet of unit length."""
        ...

    def tokenize(self, texts: Sequence[str]) -> tuple[Any, list[int]]:
        """Token ids as the model takes them [B, L], and for each text how many of its tokens did not fit."""
        ...

    def encode_texts(self, tokens: Any) -> np.ndarray:
        """Token ids [B, L] to [B, D]."""
        ...


class Encoder:
    """Unit vectors float32 [B, D] from pictures and texts. One thread decodes and resizes while another one infers."""

    def __init__(self, tower: Tower, *, batch: int) -> None:
        self._tower, self._batch = tower, batch
        self._ahead: ThreadPoolExecutor | None = None

    def pictures(self, pictures: Iterable[Picture]) -> Iterator[np.ndarray | Exception]:
        """The embedding of each picture in order, or what its function raised; decode is hidden behind inference.

        The functions are called one at a time on another thread, at most two batches ahead.
        """
        pending: list[Future[list[np.ndarray | Exception]]] = []
        groups = _groups(pictures, self._batch)
        # Kept for the life of the process: starting a thread per call would cost more than a small batch.
        self._ahead = self._ahead or ThreadPoolExecutor(1, thread_name_prefix="prepare")
        try:
            for group in groups:
                pending.append(self._ahead.submit(self._prepare, group))
                if len(pending) > 2:
                    yield from self._infer(pending.pop(0).result())
            while pending:
                yield from self._infer(pending.pop(0).result())
        finally:
            for future in pending:
                future.cancel()

    def texts(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Embeddings [B, D], and how many tokens of each text did not fit and were left out [B]."""
        rows, cut = [], []
        for group in _groups(texts, self._batch):
            tokens, over = self._tower.tokenize([*group, *[""] * (self._batch - len(group))])
            rows.append(unit(self._tower.encode_texts(tokens))[: len(group)])
            cut += over[: len(group)]
        return np.concatenate(rows) if rows else np.zeros((0, 0), np.float32), np.array(cut, np.int64)

    def _prepare(self, group: Sequence[Picture]) -> list[np.ndarray | Exception]:
        return [self._prepared(picture) for picture in group]

    def _prepared(self, picture: Picture) -> np.ndarray | Exception:
        try:
            return self._tower.prepare(picture())
        except (ValueError, OSError) as error:  # a SampleError is a ValueError; others are the run's to handle
            return error

    def _infer(self, prepared: Sequence[np.ndarray | Exception]) -> Iterator[np.ndarray | Exception]:
        good = [item for item in prepared if isinstance(item, np.ndarray)]
        if good:
            block = np.zeros((self._batch, *good[0].shape), np.float32)
            np.stack(good, out=block[: len(good)])
            vectors = iter(unit(self._tower.encode_images(block)))
        else:
            vectors = iter(())
        for item in prepared:
            yield next(vectors) if isinstance(item, np.ndarray) else item


def unit(rows: np.ndarray) -> np.ndarray:
    """Rows of length one, each computed from itself alone; a row of zeros stays."""
    rows = np.asarray(rows, np.float32)
    lengths = np.sqrt((rows * rows).sum(axis=1, keepdims=True))
    return rows / np.where(lengths > 0, lengths, 1.0)


def _groups(items: Iterable[Any], size: int) -> Iterator[list[Any]]:
    iterator = iter(items)
    while group := list(islice(iterator, size)):
        yield group


@lru_cache(maxsize=4)
def _load(spec: EncoderSpec) -> Encoder:
    try:
        from curation.neural import towers  # torch is needed from here on
    except ModuleNotFoundError as error:
        raise MissingExtraError(spec.library, "clip" if spec.library == "open_clip" else "train") from error
    opened = towers.open_clip_tower if spec.library == "open_clip" else towers.transformers_tower
    try:
        return Encoder(opened(spec), batch=spec.batch)
    except ModuleNotFoundError as error:
        raise MissingExtraError(spec.library, "clip" if spec.library == "open_clip" else "train") from error
    except (OSError, RuntimeError, ValueError, KeyError) as error:
        raise OperatorError(
            f"encoder {spec.model} {spec.pretrained}: cannot be loaded ({type(error).__name__}: {str(error)[:400]}): "
            "name an architecture with a tag or checkpoint file, a hub id, or a directory in the hub's format"
        ) from error

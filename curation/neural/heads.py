"""Head: a small network on an encoder's embedding that gives one number: looks, safety, watermarks.

Shapes: B samples, D width of the embedding.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np

from curation.neural.encoder import ASSETS, SHIPPED
from curation.neural.files import fingerprint, read_tensors
from curation.operator import OperatorError

_PLACE = re.compile(r"^(.*?)(?:(\d+)\.)?(weight|bias)$")


@dataclass(frozen=True, kw_only=True)
class HeadSpec:
    """Which head. Its file is a state_dict (.safetensors, or written by torch.save) of one linear layer or a chain of them.

    activation: what stands between two layers that have something between them; LAION's improved aesthetic predictor has
    only dropout there, so "none". In a chain of numbered layers (layers.0, layers.2, ... of a Sequential) a gap in the numbers
    is something between them. output: "identity", or "sigmoid" where the head was trained as a classifier.
    """

    path: str
    activation: Literal["none", "relu", "gelu"] = "none"
    output: Literal["identity", "sigmoid"] = "identity"

    @classmethod
    def shipped(cls, name: str) -> HeadSpec:
        """A head on the shipped encoder; `name` is "aesthetic"."""
        return cls(path=f"{SHIPPED}{name}.safetensors")

    @property
    def file(self) -> Path:
        """Where the weights lie."""
        return ASSETS / self.path.removeprefix(SHIPPED) if self.path.startswith(SHIPPED) else Path(self.path)

    def identity(self) -> dict[str, Any]:
        """Digest of the weights, wherever they lie."""
        return {"weights": fingerprint(self.file)} if self.file.exists() else {}

    def load(self) -> Head:
        """The head; read once per process.

        Raises:
            OperatorError: no such file, or it is no chain of linear layers that ends in one number.
        """
        return _load(self)


@dataclass(frozen=True)
class Head:
    """Linear layers (weight [out, in], bias [out], whether something stands after it)."""

    spec: HeadSpec
    layers: tuple[tuple[np.ndarray, np.ndarray, bool], ...]

    def __call__(self, embeddings: np.ndarray) -> np.ndarray:
        """One number per row of float [B, D]; rows of NaN give NaN.

        Raises:
            OperatorError: the head is for embeddings of another width.
        """
        wanted = self.layers[0][0].shape[1]
        if embeddings.shape[1] not in (0, wanted):
            raise OperatorError(
                f"head {self.spec.path}: is for embeddings of {wanted} numbers, the encoder gives {embeddings.shape[1]}: "
                "name the encoder it was trained on"
            )
        # Row by row: a product of matrices may round a row differently among other rows.
        return np.array([self._number(row) for row in embeddings.astype(np.float32)], dtype=np.float64)

    def _number(self, row: np.ndarray) -> float:
        if not row.size or np.isnan(row).any():
            return float("nan")
        for weight, bias, followed in self.layers:
            row = weight @ row + bias
            row = _activate(row, self.spec.activation) if followed else row
        return float(row[0]) if self.spec.output == "identity" else float(1 / (1 + np.exp(-row[0])))


def _activate(x: np.ndarray, activation: str) -> np.ndarray:
    if activation == "relu":
        return np.maximum(x, 0)
    if activation == "gelu":
        from math import erf

        return np.array([0.5 * v * (1 + erf(v / 2**0.5)) for v in x.tolist()], dtype=np.float32)
    return x


@lru_cache(maxsize=8)
def _load(spec: HeadSpec) -> Head:
    tensors = read_tensors(spec.file)
    numbered: dict[int, dict[str, np.ndarray]] = {}
    for name, values in tensors.items():
        match = _PLACE.match(name)
        if match is None:
            raise OperatorError(f"head {spec.path}: found {name!r}, wanted weights and biases of linear layers")
        numbered.setdefault(int(match[2] or 0), {})[match[3]] = values
    order = sorted(numbered)
    layers, width = [], None
    for number, after in zip(order, [*order[1:], None], strict=True):
        weight = numbered[number].get("weight")
        if weight is None or weight.ndim != 2 or width not in (None, weight.shape[1]):
            shape = "no weight" if weight is None else f"a weight of shape {weight.shape}"
            raise OperatorError(
                f"head {spec.path}: layer {number} has {shape}, wanted [numbers out, {width or 'numbers in'}]"
            )
        width = weight.shape[0]
        bias = numbered[number].get("bias", np.zeros(width, np.float32))
        if bias.shape != (width,):
            raise OperatorError(f"head {spec.path}: layer {number} has a bias of shape {bias.shape}, wanted ({width},)")
        layers.append((weight, bias, after is not None and after - number > 1))
    if width != 1:
        raise OperatorError(f"head {spec.path}: ends in {width} numbers, wanted 1: name a head that gives one score")
    return Head(spec, tuple(layers))

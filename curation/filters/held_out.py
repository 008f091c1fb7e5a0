"""HeldOut: which samples are kept for validation, decided by what they show and not by what they are called."""

import hashlib
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from curation.batch import Batch
from curation.operator import Filter
from curation.sample import Sample
from curation.select.exact import normalize_for_comparison


@dataclass(frozen=True, kw_only=True)
class HeldOut(Filter):
    """A number in [0, 1) drawn from a sample's media, or from its text where it has none; below `share` is validation.

    Samples with the same picture, clip or text get the same number in every branch, stage and run, so that none of a
    duplicate group is trained on while another is evaluated. A sample of several media belongs to training if all of
    them do, to validation if all of them do, else to neither. side: which of the two a recipe wants; the bound follows
    from it, or is given.

    Source: ours; what VideoLLaMA3 held out is not disclosed. 0.5 % of a million samples is 5,000, enough to see a loss
    to three digits.
    """

    share: float = 0.005
    side: Literal["train", "validation"] = "train"
    seed: int = 0

    def __post_init__(self) -> None:
        if self.low is None and self.high is None:
            # A frozen value, completed once: the bounds are what the ledger and the plan show.
            bound = ("low", self.share) if self.side == "train" else ("high", float(np.nextafter(self.share, 0)))
            object.__setattr__(self, *bound)

    def measure_settings(self) -> dict[str, Any]:
        """The share decides and is not measured."""
        return {key: value for key, value in super().measure_settings().items() if key != "share"}

    def measure(self, batch: Batch) -> np.ndarray:
        """The smallest number of a sample's media for training, the largest for validation."""
        fold = min if self.side == "train" else max
        return np.array([fold(self._numbers(sample)) for sample in batch.samples], dtype=np.float64)

    def _numbers(self, sample: Sample) -> list[float]:
        keys = [medium.digest for medium in sample.media] or [normalize_for_comparison(sample.text())]
        return [self._number(key) for key in keys]

    def _number(self, key: str) -> float:
        drawn = hashlib.blake2b(f"{self.seed}:{key}".encode("utf-8", "surrogatepass"), digest_size=8).digest()
        return int.from_bytes(drawn, "big") / 2**64

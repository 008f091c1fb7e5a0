"""Remeasure: the numbers that filters after the one that dropped a sample would have given it, for a few samples."""

import importlib
import inspect
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

import numpy as np

from curation.batch import Batch
from curation.operator import Filter, OperatorError
from curation.sample import Media, Origin, Sample, SampleError
from pipelines.samples import FoundSample

_PLAIN = (str, int, float, bool, type(None))


def cheap_filter(settings: Mapping[str, Any]) -> Filter | None:
    """The filter that these recorded settings describe, if it is one of ours that loads nothing; else None.

    A manifest may come from anywhere: only classes below `curation.filters` are made, and only from plain values.
    """
    module, _, name = str(settings.get("operator", "")).rpartition(".")
    if not module.startswith("curation.filters.") or not module.replace(".", "").replace("_", "").isalnum():
        return None
    try:
        kind = getattr(importlib.import_module(module), name, None)
    except ImportError:
        return None
    if not (inspect.isclass(kind) and issubclass(kind, Filter) and kind.open is Filter.open):
        return None
    values = {f.name: settings[f.name] for f in fields(kind) if f.name in settings}
    if not all(isinstance(value, _PLAIN) for value in values.values()):
        return None
    try:
        return kind(**values)
    except (TypeError, ValueError):
        return None  # settings of another version


def remeasure(operators: Sequence[Filter], samples: Sequence[FoundSample]) -> dict[str, list[float | None]]:
    """Per filter one number per sample; None where it does not apply or the sample fails in it."""
    plain = [_sample(found) for found in samples]
    return {operator.name: [_measured(operator, sample) for sample in plain] for operator in operators}


def _measured(operator: Filter, sample: Sample) -> float | None:
    batch = Batch([sample])
    try:
        values = np.asarray(operator.measure(batch), dtype=float)
    except (SampleError, OperatorError):
        return None
    return None if batch.errors or np.isnan(values[0]) else float(values[0])


def _sample(found: FoundSample) -> Sample:
    media = tuple(
        Media(
            kind="video" if m.kind == "video" else "image",
            reference=m.reference,
            size=m.reference.size,
            format=m.format,
            width=m.width,
            height=m.height,
            duration=m.duration,
            fps=m.fps,
            frames=round(m.fps * m.duration) or 1,
        )
        for m in found.media
    )
    return Sample(id=found.id, turns=found.turns, media=media, origin=Origin(source="", locator="", name=""))

"""Encode: a stored sample to tokens and patches, under the pixel rules of a stage."""

from __future__ import annotations

from dataclasses import replace

from curation.shards import StoredSample
from model import Encoded, Processor
from model.geometry import VisualRules
from trainer.stages import Stage


class StageEncoder:
    """Encodes the samples of a shard the way that their index counted them."""

    def __init__(self, processor: Processor, rules: VisualRules) -> None:
        self.processor = replace(processor, rules=rules)

    def __call__(
        self, sample: StoredSample, *, max_tokens: int | None = None, max_frames: int | None = None
    ) -> Encoded:
        """Encode one sample, under other limits of the rules if given; any error is the sample's own."""
        given = {"max_tokens": max_tokens, "max_frames": max_frames}
        limits = {name: value for name, value in given.items() if value is not None}
        rules = replace(self.processor.rules, **limits)
        return encode_stored(replace(self.processor, rules=rules) if limits else self.processor, sample)


def encode_stored(processor: Processor, sample: StoredSample) -> Encoded:
    """Tokens and patches of a stored sample."""
    media = list(zip(sample.fields["media"], sample.media, strict=True))
    return processor(
        sample.fields["turns"],
        images=[data for medium, data in media if medium["kind"] == "image"],
        videos=[data for medium, data in media if medium["kind"] == "video"],
        kinds=[medium["kind"] for medium, _ in media],
        seed=sample.key,
    )


def for_stage(processor: Processor, stage: Stage) -> Processor:
    """The processor to use the stage's model with: its merges and pruning, but the budgets that the processor had."""
    rules = stage.rules
    return replace(
        processor,
        rules=replace(processor.rules, image_merge=rules.image_merge, video_merge=rules.video_merge, prune=rules.prune),
    )

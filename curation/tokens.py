"""Tokens: what a sample costs in training, counted by the very code that the trainer prepares it with."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from curation.batch import Batch
from curation.operator import RecipeError
from curation.sample import Media, SampleError
from model.chat import Visual, count_tokens, split_turns
from model.geometry import Grid, Medium, VisualRules, plan_grids
from model.tokenizer import Tokenizer


@dataclass(frozen=True, kw_only=True)
class TokenCounter:
    """Counts language tokens, patches and visual tokens, before and after pruning, under fixed pixel rules.

    Images are counted from their size alone. Videos are sampled, resized and pruned as in training, since what pruning leaves, and the
    text of the frames' times, is only known then.
    """

    tokenizer: Tokenizer
    rules: VisualRules

    @staticmethod
    @lru_cache(maxsize=4)
    def of(tokenizer: str, rules: VisualRules) -> "TokenCounter":
        """The counter for a tokenizer ("" is the shipped one) and rules; loaded once per process."""
        return TokenCounter(tokenizer=load_tokenizer(tokenizer), rules=rules)

    def count(self, batch: Batch, index: int) -> dict[str, Any]:
        """Counts of one sample: text_tokens, loss_tokens, patches, visual_tokens, visual_tokens_kept and `grids`, one per medium.

        Raises:
            SampleError: a video does not decode, or the turns do not fit the media.
        """
        sample = batch.samples[index]
        grids, visuals = self._visuals(batch, index, sample.media)
        try:
            turns = split_turns(sample.turns, [medium.kind for medium in sample.media])
            text, loss = count_tokens(turns, visuals, self.tokenizer)
        except ValueError as error:
            raise SampleError(f"cannot be put into the chat: {error}") from error
        merges = [self.rules.merge(medium.kind) for medium in sample.media]
        kept = [sum(visual.tokens) for visual in visuals]
        rows = [
            {"frames": g.frames, "rows": g.rows, "columns": g.columns, "merge": m, "kept": k}
            for g, m, k in zip(grids, merges, kept, strict=True)
        ]
        return {
            "text_tokens": text,
            "loss_tokens": loss,
            "patches": sum(grid.patches for grid in grids),
            "visual_tokens": sum(grid.tokens(merge) for grid, merge in zip(grids, merges, strict=True)),
            "visual_tokens_kept": sum(kept),
            "grids": rows,
        }

    def _visuals(self, batch: Batch, index: int, media: Sequence[Media]) -> tuple[list[Grid], list[Visual]]:
        if any(medium.kind == "video" for medium in media):
            raise SampleError("video counting pending")
        grids = plan_grids([Medium(medium.kind, medium.height, medium.width) for medium in media], self.rules)
        return grids, [Visual(kind="image", tokens=(grid.tokens(self.rules.image_merge),)) for grid in grids]


@lru_cache(maxsize=4)
def load_tokenizer(path: str) -> Tokenizer:
    """The tokenizer of a model directory or a tokenizer.json; "" is the shipped one.

    Raises:
        RecipeError: there is none.
    """
    try:
        return Tokenizer.load(path) if path else Tokenizer.shipped()
    except ValueError as error:
        raise RecipeError(f"tokenizer: {error}") from error

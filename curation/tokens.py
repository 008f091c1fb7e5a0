"""Tokens: what a sample costs in training, counted by the very code that the trainer prepares it with."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from curation.batch import Batch
from curation.operator import RecipeError
from curation.sample import SampleError
from model.chat import Turn, Visual, count_tokens, last_time, split_turns
from model.geometry import Grid, Medium, VisualRules, plan_grids
from model.tokenizer import Tokenizer
from model.visuals import OpenMedium, encode_medium, open_video

# Characters of a sample that are tokenized; no sequence is trained on a tenth of it. Each takes 200 bytes and a microsecond.
MAX_COUNTED = 2 << 20


@dataclass(frozen=True, kw_only=True)
class TokenCounter:
    """Counts language tokens, patches and visual tokens, before and after pruning, under fixed pixel rules.

    Images are counted from their size alone. Videos are sampled, resized and pruned as in training, since what pruning
    leaves, and the text of the frames' times, is only known then.
    """

    tokenizer: Tokenizer
    rules: VisualRules

    @staticmethod
    @lru_cache(maxsize=4)
    def of(tokenizer: str, rules: VisualRules) -> "TokenCounter":
        """The counter for a tokenizer ("" is the shipped one) and rules; loaded once per process."""
        return TokenCounter(tokenizer=load_tokenizer(tokenizer), rules=rules)

    def count(self, batch: Batch, index: int) -> dict[str, Any]:
        """Counts of one sample as the index has them, and `grids`, one per medium.

        Raises:
            SampleError: there is too much text, a video does not decode, or the turns do not fit the media.
        """
        sample = batch.samples[index]
        if (characters := sum(len(turn.text) for turn in sample.turns)) > MAX_COUNTED:
            raise SampleError(
                f"{characters:,} characters to count, limit {MAX_COUNTED:,}: drop it with Words(high=...)"
            )
        try:
            turns = split_turns(sample.turns, [medium.kind for medium in sample.media])
            grids, visuals = self._visuals(batch, index, turns)
            text, loss = count_tokens(turns, visuals, self.tokenizer)
        except SampleError:
            raise
        except ValueError as error:  # MediaError of a clip, or turns that the chat cannot hold
            raise SampleError(f"cannot be counted: {error}") from error
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

    def _visuals(self, batch: Batch, index: int, turns: Sequence[Turn]) -> tuple[list[Grid], list[Visual]]:
        """Grid and kept tokens per medium. An image keeps everything; a clip must be looked at."""
        media = batch.samples[index].media
        last = last_time(turns)
        clips = {
            rank: open_video(batch.clip(index, rank), f"video {rank}", self.rules, last)
            for rank, medium in enumerate(media)
            if medium.kind == "video"
        }
        shapes = [clips[i].geometry if i in clips else Medium("image", m.height, m.width) for i, m in enumerate(media)]
        grids = plan_grids(shapes, self.rules)
        return grids, [self._visual(clips.get(rank), grid, batch) for rank, grid in enumerate(grids)]

    def _visual(self, clip: OpenMedium | None, grid: Grid, batch: Batch) -> Visual:
        if clip is None:
            return Visual(kind="image", tokens=(grid.tokens(self.rules.image_merge),))
        if not self.rules.prune:
            tokens = grid.tokens(self.rules.video_merge) // grid.frames
            return Visual(kind="video", tokens=(tokens,) * grid.frames, times=clip.times)
        batch.counters["media_decoded"] += 1
        return encode_medium(clip, grid, self.rules).visual


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

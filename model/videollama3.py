"""VideoLLaMA3: vision encoder, merge, projector and language model over one pack.

Shapes: T packed positions, S sequences, P patches, K values per patch, Q visual tokens before pruning, C visual tokens
kept, N supervised positions, D language width, V vocabulary.

Source: VideoLLaMA3, arXiv:2501.13106. State-dict keys are those of transformers' VideoLlama3ForConditionalGeneration.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn

from model.attention import Segments, send
from model.batch import PackedBatch
from model.config import ModelConfig
from model.language import KeyValues, LanguageModel, RMSNorm
from model.loss import TokenLosses, linear_cross_entropy
from model.merge import merge_squares
from model.projector import Projector
from model.rope import media_coordinates
from model.vision import PatchEmbedding, VisionEncoder

if TYPE_CHECKING:
    from model.processor import Processor

_INITIAL_DEVIATION = 0.02
_TOUCH = (((1, 1, 1), 1),)  # one patch: the smallest medium

Want = Literal["hidden", "logits", "losses"]


class VideoLLaMA3(nn.Module):
    """The model. A new one has random weights; published ones come by `from_pretrained`.

    Everything public goes through `forward`, so that wrappers that act around it (FSDP) see every use.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.model = nn.ModuleDict(
            {
                "vision_model": VisionEncoder(config.vision),
                "projector": Projector(config.vision.hidden, config.language.hidden),
                "language_model": LanguageModel(config.language),
            }
        )
        self.lm_head = None if config.tied else nn.Linear(config.language.hidden, config.language.vocab, bias=False)
        initialise(self)

    @property
    def vision(self) -> VisionEncoder:
        """The vision encoder; its `layers` are the blocks to wrap."""
        module = self.model["vision_model"]
        assert isinstance(module, VisionEncoder)
        return module

    @property
    def projector(self) -> Projector:
        """The projector."""
        module = self.model["projector"]
        assert isinstance(module, Projector)
        return module

    @property
    def language(self) -> LanguageModel:
        """The language model; its `layers` are the blocks to wrap."""
        module = self.model["language_model"]
        assert isinstance(module, LanguageModel)
        return module

    @property
    def head(self) -> Tensor:
        """Weight of the output head [V, D]: the embedding table itself when tied."""
        return self.language.embed_tokens.weight if self.lm_head is None else self.lm_head.weight

    def hidden(self, batch: PackedBatch, *, touch_vision: bool = False) -> Tensor:
        """Normalised last states of a pack: T D. For `touch_vision` see `forward`."""
        return self(batch, want="hidden", touch_vision=touch_vision)

    def logits(self, batch: PackedBatch) -> Tensor:
        """Scores of the next token at every position: T V. For training use `loss`, which never holds them all."""
        return self(batch, want="logits")

    def loss(self, batch: PackedBatch, *, touch_vision: bool = False, z_loss: float = 0.0) -> tuple[Tensor, int]:
        """Cross-entropy in nats summed over supervised tokens, and their number; position t predicts token t + 1.

        Never crosses sequences. Divide by the number over all ranks and accumulated packs.
        """
        return self.token_losses(batch, touch_vision=touch_vision, z_loss=z_loss).total, batch.num_supervised

    def token_losses(self, batch: PackedBatch, *, touch_vision: bool = False, z_loss: float = 0.0) -> TokenLosses:
        """`loss` with the loss and the correctness of each supervised token, in the order of `batch.predictors`."""
        return self(batch, want="losses", touch_vision=touch_vision, z_loss=z_loss)

    def generate(self, processor: Processor, conversation: Any, **options: Any) -> str:
        """Answer a conversation; options as in `model.generate.generate`."""
        from model.generate import generate

        return generate(self, processor, conversation, **options)

    @classmethod
    def from_pretrained(cls, path: str | Path, **options: Any) -> VideoLLaMA3:
        """Load a directory or hub id in any published layout; options as in `model.weights.load_pretrained`."""
        from model.weights import load_pretrained

        return load_pretrained(path, **options)

    @classmethod
    def from_parts(cls, *, language: str | Path, vision: str | Path, **options: Any) -> VideoLLaMA3:
        """Start stage 1 from a Qwen2.5 and a SigLIP, with a fresh projector; see `model.weights.load_parts`."""
        from model.weights import load_parts

        return load_parts(language=language, vision=vision, **options)

    def save_pretrained(self, path: str | Path, processor: Processor | None = None, **options: Any) -> None:
        """Write a directory that transformers loads; options as in `model.weights.save_pretrained`."""
        from model.weights import save_pretrained

        save_pretrained(self, path, processor, **options)

    def forward(
        self,
        batch: PackedBatch,
        *,
        want: Want = "losses",
        touch_vision: bool = False,
        z_loss: float = 0.0,
        cache: KeyValues | None = None,
    ) -> Any:
        """States, logits or token losses of a pack on the model's device.

        `touch_vision`: where the pack has no media, run the vision encoder on one black patch of which nothing is used,
        so that all ranks of a mesh run the same collectives; its gradients are exact zeros.
        """
        x = self.embed(batch, touch_vision=touch_vision)
        sequences = Segments.of(batch.sequence_lengths, device=x.device)
        x = self.language(x, batch.positions, sequences, cache)
        if want == "hidden":
            return x
        if want == "logits":
            return nn.functional.linear(x, self.head)
        targets = batch.labels.index_select(0, batch.predictors + 1)
        return linear_cross_entropy(x.index_select(0, batch.predictors), self.head, targets, z_loss=z_loss)

    def embed(self, batch: PackedBatch, *, touch_vision: bool = False) -> Tensor:
        """Token embeddings with the placeholders replaced by visual tokens, in order: T D."""
        x = self.language.embed_tokens(batch.tokens)
        if batch.media:
            visual = self.visual_tokens(batch)
        elif touch_vision:
            visual = self._touch(x.device)
        else:
            return x
        return x.index_copy(0, self._placeholders(batch), visual.to(x.dtype))

    def visual_tokens(self, batch: PackedBatch) -> Tensor:
        """Visual tokens of all media in order, pruned ones left out: C D. Every frame passes the encoder once."""
        features = self._features(batch.patches, batch.media)
        return features if batch.kept is None else features.index_select(0, batch.kept)

    def _features(self, patches: Tensor, media: Any) -> Tensor:
        """P K -> Q D."""
        frames = Segments.of(
            [rows * columns for (t, rows, columns), _ in media for _ in range(t)], device=patches.device
        )
        features = self.vision(patches, send(media_coordinates(media), patches.device), frames)
        lengths = [t * rows * columns for (t, rows, columns), _ in media]
        return self.projector(merge_squares(features, lengths=lengths, merges=[merge for _, merge in media]))

    def _touch(self, device: torch.device) -> Tensor:
        """No visual tokens, through the whole encoder: 0 D."""
        patch = torch.zeros(1, self.config.vision.patch_values, dtype=torch.uint8, device=device)
        return self._features(patch, _TOUCH)[:0]

    def _placeholders(self, batch: PackedBatch) -> Tensor:
        """Positions of the placeholders, found without waiting for the device: C int64."""
        config, tokens, wanted = self.config, batch.tokens, batch.num_visual_tokens
        mask = (tokens == config.image_token_id) | (tokens == config.video_token_id)
        if not tokens.is_cuda and int(mask.sum()) != wanted:
            raise ValueError(
                f"PackedBatch: found {int(mask.sum())} placeholders (ids {config.image_token_id} and "
                f"{config.video_token_id}), wanted {wanted}, one per visual token kept. "
                "Encode with the processor of this model"
            )
        if tokens.is_cuda:  # a wrong count stops the device here, instead of the host waiting for it
            torch._assert_async(mask.sum() == wanted)  # pyright: ignore[reportPrivateImportUsage]
        return torch.nonzero_static(mask, size=wanted).flatten()


def initialise(module: nn.Module) -> None:
    """Random weights in place: normal with deviation 0.02, biases zero, norms one, as transformers does.

    Draws from torch's generator; does nothing on the meta device.
    """
    for part in module.modules():
        if isinstance(part, nn.LayerNorm | RMSNorm):
            nn.init.ones_(part.weight)
        elif isinstance(part, nn.Linear | nn.Embedding | PatchEmbedding):
            nn.init.normal_(part.weight, std=_INITIAL_DEVIATION)
        if isinstance(bias := getattr(part, "bias", None), Tensor):
            nn.init.zeros_(bias)

"""Config: the sizes of a VideoLLaMA3 model, its presets, and the config.json that the port reads.

Source: VideoLLaMA3, arXiv:2501.13106, its released checkpoints, and the `video_llama_3` port in transformers.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

_MAX_LAYERS = 512
_MAX_SIZE = 1 << 24  # of any one number: a config file must not make us build an absurd model
_TOKENIZER = Path(__file__).parent / "assets" / "tokenizer" / "tokenizer.json"


def _check_sizes(config: object) -> None:
    """Every integer of a config is positive and sane; the message names the field."""
    for entry in fields(config):  # pyright: ignore[reportArgumentType]  # a dataclass instance
        value = getattr(config, entry.name)
        limit = _MAX_LAYERS if entry.name == "layers" else _MAX_SIZE
        if entry.type == "int" and (not isinstance(value, int) or isinstance(value, bool) or not 0 < value <= limit):
            raise ValueError(
                f"{type(config).__name__}: {entry.name} is {value!r}; wanted an integer in 1..{limit}. Fix config.json"
            )


@dataclass(frozen=True, kw_only=True)
class VisionConfig:
    """Vision encoder: SigLIP so400m without its position table; head_dim = hidden / heads, a multiple of 4."""

    hidden: int = 1152
    intermediate: int = 4304
    layers: int = 27
    heads: int = 16
    channels: int = 3
    patch: int = 14
    norm_eps: float = 1e-6
    rope_theta: float = 10000.0

    def __post_init__(self) -> None:
        _check_sizes(self)
        if self.hidden % self.heads or self.head_dim % 4:
            raise ValueError(
                f"VisionConfig: hidden {self.hidden} over {self.heads} heads is {self.hidden / self.heads:g} wide; "
                "wanted a whole multiple of 4 (rows and columns each rotate pairs). Change hidden or heads"
            )

    @property
    def head_dim(self) -> int:
        """Width of one head."""
        return self.hidden // self.heads

    @property
    def patch_values(self) -> int:
        """Values of one flattened patch."""
        return self.channels * self.patch * self.patch


@dataclass(frozen=True, kw_only=True)
class LanguageConfig:
    """Qwen2.5 decoder; `kv_heads` divides `heads`."""

    hidden: int
    intermediate: int
    layers: int
    heads: int
    kv_heads: int
    vocab: int
    head_dim: int = 128
    norm_eps: float = 1e-6
    rope_theta: float = 1e6
    max_positions: int = 32768

    def __post_init__(self) -> None:
        _check_sizes(self)
        if self.heads % self.kv_heads or self.head_dim % 2:
            raise ValueError(
                f"LanguageConfig: {self.heads} heads, {self.kv_heads} key-value heads, {self.head_dim} wide; "
                "wanted heads a multiple of key-value heads and an even width. Fix the sizes"
            )


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """The whole model. `tied`: the output head is the token embedding. Merges belong to each medium, not to the model.

    `image_token_id` and `video_token_id` are the visual placeholders, one and the same in the original release.
    """

    vision: VisionConfig
    language: LanguageConfig
    image_token_id: int = 151655
    video_token_id: int = 151656
    tied: bool = False
    bos_token_id: int | None = 151643
    pad_token_id: int | None = 151643
    stop_token_ids: tuple[int, ...] = (151645, 151643)

    def __post_init__(self) -> None:
        _check_sizes(self)
        for name in ("image_token_id", "video_token_id"):
            if getattr(self, name) >= self.language.vocab:
                raise ValueError(
                    f"ModelConfig: {name} is {getattr(self, name)}, the vocabulary has {self.language.vocab} rows. "
                    "Give the id of a placeholder inside the vocabulary"
                )

    @classmethod
    def preset(cls, name: Literal["tiny", "2b", "7b"]) -> ModelConfig:
        """Published sizes, or `tiny` (about 1.5 M parameters, for the shipped tokenizer). ValueError on other names."""
        if name == "2b":
            language = LanguageConfig(hidden=1536, intermediate=8960, layers=28, heads=12, kv_heads=2, vocab=151936)
            return cls(vision=VisionConfig(), language=language, tied=True)
        if name == "7b":
            language = LanguageConfig(hidden=3584, intermediate=18944, layers=28, heads=28, kv_heads=4, vocab=152064)
            return cls(vision=VisionConfig(), language=language)
        if name == "tiny":
            return _tiny()
        raise ValueError(f"ModelConfig.preset: found {name!r}; presets are 'tiny', '2b', '7b'")

    @classmethod
    def from_pretrained(cls, directory: str | Path) -> ModelConfig:
        """Read config.json of a `video_llama_3` or an original VideoLLaMA3 directory. ValueError when it is neither."""
        from model.config_files import read_config

        return read_config(Path(directory))

    def to_port(self, *, dtype: str) -> dict[str, Any]:
        """The config.json that transformers' VideoLlama3ForConditionalGeneration reads; `dtype` as 'bfloat16'."""
        vision, language = self.vision, self.language
        return {
            "architectures": ["VideoLlama3ForConditionalGeneration"],
            "model_type": "video_llama_3",
            "dtype": dtype,
            "image_token_id": self.image_token_id,
            "video_token_id": self.video_token_id,
            "tie_word_embeddings": self.tied,
            "text_config": {
                "model_type": "qwen2",
                "vocab_size": language.vocab,
                "hidden_size": language.hidden,
                "intermediate_size": language.intermediate,
                "num_hidden_layers": language.layers,
                "num_attention_heads": language.heads,
                "num_key_value_heads": language.kv_heads,
                "head_dim": language.head_dim,
                "hidden_act": "silu",
                "rms_norm_eps": language.norm_eps,
                "rope_parameters": {"rope_type": "default", "rope_theta": language.rope_theta},
                "max_position_embeddings": language.max_positions,
                "tie_word_embeddings": self.tied,
                "use_sliding_window": False,
                "bos_token_id": self.bos_token_id,
                "eos_token_id": self.stop_token_ids[0] if self.stop_token_ids else None,
                "pad_token_id": None,  # an id here would freeze that row of the embedding
                "dtype": dtype,
            },
            "vision_config": {
                "model_type": "video_llama_3_vision",
                "hidden_size": vision.hidden,
                "intermediate_size": vision.intermediate,
                "num_hidden_layers": vision.layers,
                "num_attention_heads": vision.heads,
                "num_channels": vision.channels,
                "patch_size": vision.patch,
                "hidden_act": "gelu_pytorch_tanh",
                "layer_norm_eps": vision.norm_eps,
                "attention_dropout": 0.0,
                "rope_parameters": {"rope_type": "axial", "rope_theta": vision.rope_theta},
                "dtype": dtype,
            },
        }


def _tiny() -> ModelConfig:
    from model.config_files import read_json

    tokens = {token["content"]: token["id"] for token in read_json(_TOKENIZER)["added_tokens"]}
    return ModelConfig(
        vision=VisionConfig(hidden=96, intermediate=256, layers=3, heads=4),
        language=LanguageConfig(
            hidden=128, intermediate=384, layers=3, heads=4, kv_heads=2, head_dim=32, vocab=4096, max_positions=8192
        ),
        image_token_id=tokens["<|image_pad|>"],
        video_token_id=tokens["<|video_pad|>"],
        tied=True,
        bos_token_id=tokens["<|endoftext|>"],
        pad_token_id=tokens["<|endoftext|>"],
        stop_token_ids=(tokens["<|im_end|>"], tokens["<|endoftext|>"]),
    )

"""Model: VideoLLaMA3 on one device, with its processor. Importing this package loads neither torch nor transformers.

Source: VideoLLaMA3: Frontier Multimodal Foundation Models for Image and Video Understanding, arXiv:2501.13106.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from model.batch import Encoded, PackedBatch, pack
    from model.config import LanguageConfig, ModelConfig, VisionConfig
    from model.generate import GenerationConfig
    from model.processor import Processor
    from model.torchvision_repair import repair_torchvision
    from model.videollama3 import VideoLLaMA3

_HOMES = {
    "Encoded": "model.batch",
    "GenerationConfig": "model.generate",
    "LanguageConfig": "model.config",
    "ModelConfig": "model.config",
    "PackedBatch": "model.batch",
    "Processor": "model.processor",
    "VideoLLaMA3": "model.videollama3",
    "VisionConfig": "model.config",
    "pack": "model.batch",
    "repair_torchvision": "model.torchvision_repair",
}

__all__ = [
    "Encoded",
    "GenerationConfig",
    "LanguageConfig",
    "ModelConfig",
    "PackedBatch",
    "Processor",
    "VideoLLaMA3",
    "VisionConfig",
    "pack",
    "repair_torchvision",
]


def __getattr__(name: str) -> object:
    """Import a public name from its module on first use (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module 'model' has no attribute '{name}'. Public names: {', '.join(__all__)}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

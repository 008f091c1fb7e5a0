"""Checkpoint files: named tensors in a directory, read one at a time and written in shards.

Safetensors are memory-mapped; PyTorch files are read as bare tensors only, so that no file can run code. Names that an
index file gives must lie inside the directory.
"""

from __future__ import annotations

import json
import pickle
import re
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from model.config_files import read_json

MODEL_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"
_INDEXES = (INDEX_FILE, "pytorch_model.bin.index.json")
_SINGLE = (MODEL_FILE, "pytorch_model.bin")
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
_HUB_FILES = ("*.json", "*.safetensors", "*.txt", "*.jinja", "pytorch_model*.bin")


class WeightsError(ValueError):
    """A checkpoint that cannot be this model; the message names the file, what was found and what was wanted."""


class CheckpointFiles:
    """Tensors of a directory by stored name; a context manager that holds the files open."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.paths = _tensor_files(directory)

    def __enter__(self) -> Self:
        self._stack = ExitStack()
        self._homes: dict[str, Any] = {}
        for path in self.paths:
            source = self._open(path)
            for name in source.keys():  # noqa: SIM118  # safetensors' handle is no mapping
                if name in self._homes:
                    raise WeightsError(f"{path}: {name} is also in another file. Remove one, or fix the index")
                self._homes[name] = source
        return self

    def __exit__(self, *exception: object) -> None:
        self._stack.close()

    def __iter__(self) -> Iterator[str]:
        return iter(self._homes)

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of a tensor, without reading it."""
        source = self._homes[name]
        return tuple(source[name].shape if isinstance(source, dict) else source.get_slice(name).get_shape())

    def read(self, name: str) -> Tensor:
        """The tensor, on the CPU, in its stored type."""
        source = self._homes[name]
        return source[name] if isinstance(source, dict) else source.get_tensor(name)

    def _open(self, path: Path) -> Any:
        if path.suffix == ".safetensors":
            try:
                return self._stack.enter_context(safe_open(path, framework="pt"))
            except SafetensorError as error:
                raise WeightsError(f"{path}: not readable as safetensors ({error}). Fetch the file again") from error
        try:
            tensors = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
            raise WeightsError(
                f"{path}: not a PyTorch file of bare tensors ({str(error).splitlines()[0]}). Use safetensors instead"
            ) from error
        if not isinstance(tensors, dict) or not all(isinstance(value, Tensor) for value in tensors.values()):
            raise WeightsError(f"{path}: wanted a mapping of names to tensors. Save the state dict itself")
        return tensors


def find_directory(path: str | Path) -> Path:
    """The local directory of a checkpoint; a hub id (`owner/name`) is fetched. ValueError when it is neither."""
    directory = Path(path)
    if directory.is_dir():
        return directory
    if not _HUB_ID.fullmatch(str(path)):
        raise ValueError(f"{path}: no such directory, and not a hub id like 'owner/name'. Give one of the two")
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(str(path), allow_patterns=list(_HUB_FILES)))
    except OSError as error:
        raise ValueError(f"{path}: no such directory, and not fetched from the hub ({error}). Check both") from error


def write_shards(directory: Path, tensors: Mapping[str, Tensor], *, max_shard_bytes: int) -> None:
    """Write safetensors of at most `max_shard_bytes` each (or one tensor), with an index when there is more than one.

    Files appear complete or not at all; safetensors and indexes of an earlier save are removed.
    """
    shards: list[dict[str, Tensor]] = [{}]
    filled = 0
    for name, tensor in tensors.items():
        if shards[-1] and filled + tensor.nbytes > max_shard_bytes:
            shards.append({})
            filled = 0
        shards[-1][name] = tensor.detach().cpu().contiguous()
        filled += tensor.nbytes
    count = len(shards)
    names = [MODEL_FILE] if count == 1 else [f"model-{i:05d}-of-{count:05d}.safetensors" for i in range(1, count + 1)]
    for name, shard in zip(names, shards, strict=True):
        save_file(shard, directory / f"{name}.tmp", metadata={"format": "pt"})
    for stale in directory.glob("model*.safetensors"):
        stale.unlink()
    for name in names:
        (directory / f"{name}.tmp").replace(directory / name)
    index = {
        "metadata": {"total_size": sum(tensor.nbytes for tensor in tensors.values())},
        "weight_map": {key: name for name, shard in zip(names, shards, strict=True) for key in shard},
    }
    if count > 1:
        write_json(directory / INDEX_FILE, index)
    else:
        (directory / INDEX_FILE).unlink(missing_ok=True)


def write_json(path: Path, value: object) -> None:
    """Write JSON, whole or not at all."""
    partial = path.with_name(path.name + ".tmp")
    partial.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
    partial.replace(path)


def _tensor_files(directory: Path) -> list[Path]:
    """The files that hold a directory's tensors: those of an index, or the single file."""
    for index in _INDEXES:
        if (directory / index).is_file():
            files = read_json(directory / index).get("weight_map")
            if not isinstance(files, dict) or not all(isinstance(name, str) for name in files.values()):
                raise WeightsError(f"{directory / index}: weight_map is missing or no mapping of names. Fetch it again")
            return [_inside(directory, name, index) for name in sorted(set(files.values()))]
    for single in _SINGLE:
        if (directory / single).is_file():
            return [directory / single]
    raise WeightsError(f"{directory}: found none of {', '.join(_INDEXES + _SINGLE)}. Give a saved model's directory")


def _inside(directory: Path, name: str, index: str) -> Path:
    if Path(name).name != name or Path(name).suffix not in (".safetensors", ".bin"):
        raise WeightsError(f"{directory / index}: names the file {name!r}; wanted a plain tensor file beside the index")
    if not (directory / name).is_file():
        raise WeightsError(f"{directory / index}: names {name!r}, which is missing. Fetch it again")
    return directory / name

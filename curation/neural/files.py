"""Files: weights on disk: what they are, so that scores of other weights are never taken for theirs, and reading them safely."""

import hashlib
import warnings
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from curation.operator import OperatorError, RecipeError

if TYPE_CHECKING:
    import numpy as np


class MissingExtraError(RecipeError):
    """A library that a neural operator needs is not installed."""

    def __init__(self, library: str, extra: str) -> None:
        super().__init__(f"{library} is not installed: pip install 'vl3[{extra}]'")


def fingerprint(path: Path) -> str:
    """Digest of a file, or of all files below a directory with their names; not of where it lies."""
    files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    digest = hashlib.sha256()
    for file in files:
        facts = file.stat()
        name = str(file.relative_to(path)) if path.is_dir() else ""
        digest.update(f"{name}\0{_sha256(str(file), facts.st_size, facts.st_mtime_ns)}\0".encode())
    return digest.hexdigest()[:32]


@lru_cache(maxsize=1024)
def _sha256(path: str, size: int, changed: int) -> str:  # noqa: ARG001 - size and time are part of the key
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_tensors(path: Path) -> "dict[str, np.ndarray]":
    """Named tensors of a .safetensors file, or of a file that torch.save wrote, as float32 arrays.

    Nothing but tensors is read: a pickle that holds more is refused, since unpickling it could run any code.

    Raises:
        OperatorError: no such file, it holds more than tensors, or numbers that are not finite.
    """
    import numpy as np

    if not path.is_file():
        raise OperatorError(f"{path}: no such file: put the weights there, or name where they lie")
    try:
        tensors = _read_safetensors(path) if path.suffix == ".safetensors" else _read_torch(path)
    except ModuleNotFoundError as error:
        raise MissingExtraError("torch", "train") from error
    for name, values in tensors.items():
        if not np.isfinite(values).all():
            raise OperatorError(f"{path}: {name} holds numbers that are not finite: fetch the file again")
    return tensors


def _read_safetensors(path: Path) -> "dict[str, np.ndarray]":
    import safetensors
    import safetensors.torch

    try:
        return {name: value.float().numpy() for name, value in safetensors.torch.load_file(path).items()}
    except (safetensors.SafetensorError, OSError) as error:
        raise OperatorError(f"{path}: is no safetensors file ({error}): fetch it again") from error


def _read_torch(path: Path) -> "dict[str, np.ndarray]":
    import pickle

    import torch

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns of unusual pickles before it refuses them
            state = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, OSError) as error:
        why = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        raise OperatorError(
            f"{path}: refused ({why}): wanted a file of tensors only; convert it to safetensors where it is trusted"
        ) from error
    state = state.get("state_dict", state) if isinstance(state, dict) else state
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise OperatorError(f"{path}: found {type(state).__name__}, wanted named tensors: save a state_dict")
    return {str(name): value.detach().float().numpy() for name, value in state.items()}

"""Loader: packs of a plan, read from the shards, decoded and encoded ahead of the model.

Workers keep no state: a pack is its number. So the state of the data is {plan digest, epoch, step}, for any number
of workers. A sample that fails leaves its pack, is reported, and is never replaced by another.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from curation.shards import StoredSample
from model.batch import IGNORED, PATCH_VALUES, Encoded, PackedBatch, pack
from trainer.errors import ContractError, RunError
from trainer.plan import Plan, share
from trainer.shard_file import open_shard

FILLER = -1  # in place of a pack's number, where a rank has nothing left to do in a step
SAMPLE_SECONDS = 60.0  # a sample that takes longer to encode is set aside
# What broken media, text and JSON raise, here and in PIL and PyAV; a lack of memory is no fault of the sample.
SAMPLE_ERRORS = (ArithmeticError, AttributeError, EOFError, LookupError, OSError, SyntaxError, TypeError, ValueError)


class Encoder(Protocol):
    """Turns a stored sample into tokens and patches; `trainer.encode.StageEncoder` is the one."""

    def __call__(
        self, sample: StoredSample, *, max_tokens: int | None = None, max_frames: int | None = None
    ) -> Encoded:
        """Encode one sample, under other limits of the rules if given; any of SAMPLE_ERRORS says that it cannot be."""
        ...


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A sample that could not be trained on."""

    key: str
    shard: str
    error: str
    message: str


@dataclass(frozen=True, kw_only=True, eq=False)
class LoadedPack:
    """A pack ready for the model; `branches` holds each sequence's branch number, `seconds` the time that loading
    took.
    """

    number: int
    batch: PackedBatch
    branches: torch.Tensor  # S int64
    keys: tuple[str, ...]
    failures: tuple[Failure, ...]
    seconds: float

    def pin_memory(self) -> LoadedPack:
        """Copy in page-locked memory. DataLoader calls it by this name."""
        return LoadedPack(**{**self.__dict__, "batch": self.batch.pin_memory()})


class PackReader(TorchDataset[LoadedPack]):
    """Packs of one plan by number."""

    def __init__(self, plan: Plan, encoder: Encoder, *, seconds: float = SAMPLE_SECONDS) -> None:
        """`seconds` is what one sample may take to be encoded; 0 is forever."""
        self.plan = plan
        self.encoder = encoder
        self.seconds = seconds

    def __getitem__(self, number: int) -> LoadedPack:
        """Read and encode a pack.

        Raises:
            ContractError: a shard is not what its index says.
        """
        started = time.perf_counter()
        encoded: list[Encoded] = []
        branches: list[int] = []
        keys: list[str] = []
        failures: list[Failure] = []
        for sample, stored, shard in self._read(self.plan.pack(number)) if number != FILLER else ():
            try:
                with _deadline(self.seconds):
                    one = self.encoder(stored, **self._limits(sample))
                one = _cut_text(one, int(self.plan.dataset.length[sample]), self.plan.stage.pack_tokens)
            except SAMPLE_ERRORS as error:
                failures.append(
                    Failure(key=stored.key, shard=str(shard), error=type(error).__name__, message=str(error))
                )
                continue
            self._check(sample, one, stored.key, shard)
            encoded.append(one)
            branches.append(int(self.plan.dataset.branch[sample]))
            keys.append(stored.key)
        return LoadedPack(
            number=number,
            batch=pack(encoded) if encoded else empty_batch(),
            branches=torch.tensor(branches or [0]),
            keys=tuple(keys),
            failures=tuple(failures),
            seconds=time.perf_counter() - started,
        )

    def _read(self, samples: np.ndarray) -> Iterator[tuple[int, StoredSample, Path]]:
        """The samples of a pack, shard by shard but in the pack's order, each with its number and shard."""
        dataset = self.plan.dataset
        found: dict[int, tuple[StoredSample, Path]] = {}
        for number in np.unique(dataset.shard[samples]):
            path = dataset.shards[number]
            mine = samples[dataset.shard[samples] == number]
            try:
                stored = open_shard(path).read_all(dataset.row[mine].tolist())
            except (OSError, ValueError, LookupError) as error:
                raise ContractError(
                    f"{path}: rows {dataset.row[mine[:4]].tolist()} ... cannot be read ({error}). Run vl3-curate verify, "
                    "then copy or curate again"
                ) from error
            found.update(zip(mine.tolist(), ((one, path) for one in stored), strict=True))
        return ((int(sample), *found[int(sample)]) for sample in samples)

    def _limits(self, sample: int) -> dict[str, int]:
        """The rules of a sample that was given its own."""
        tokens, frames = self.plan.dataset.max_tokens, self.plan.dataset.max_frames
        if tokens is None or frames is None or not tokens[sample]:
            return {}
        return {"max_tokens": int(tokens[sample]), "max_frames": int(frames[sample])}

    def _check(self, sample: int, encoded: Encoded, key: str, shard: Path) -> None:
        """What was planned must be what came: otherwise packs overflow and costs are wrong on every rank."""
        dataset = self.plan.dataset
        found = (len(encoded.tokens), len(encoded.patches))
        wanted = (int(dataset.length[sample]), int(dataset.patches[sample]))
        fits = found == wanted if dataset.exact[sample] else found[0] <= wanted[0] and found[1] == wanted[1]
        if not fits:
            raise ContractError(
                f"{shard}: key {key}: {found[0]} tokens and {found[1]} patches, its index says {wanted[0]} and "
                f"{wanted[1]}. "
                "The index was counted with another tokenizer or processor: curate again with this version"
            )


def _cut_text(encoded: Encoded, planned: int, limit: int) -> Encoded:
    """A text that the plan shortened, cut to `limit` tokens; everything else as it is."""
    if planned < limit or len(encoded.tokens) <= limit or len(encoded.grids):
        return encoded
    return replace(encoded, tokens=encoded.tokens[:limit], labels=encoded.labels[:limit])


def empty_batch() -> PackedBatch:
    """One token without supervision and without media: what a rank runs to stay in step with the others."""
    return PackedBatch.of(
        tokens=torch.zeros(1, dtype=torch.int64),
        labels=torch.full((1,), IGNORED),
        sequence_lengths=[1],
        patches=torch.zeros(0, PATCH_VALUES, dtype=torch.uint8),
        grids=torch.zeros(0, 3, dtype=torch.int64),
        merges=torch.zeros(0, dtype=torch.int64),
        keep=torch.zeros(0, dtype=torch.bool),
    )


def load_packs(
    reader: PackReader, numbers: Sequence[int], *, workers: int, pin: bool = False, timeout: float = 600.0
) -> Iterator[LoadedPack]:
    """The packs in this order; 0 workers load in this process.

    Raises:
        RunError: no worker delivered the next pack within `timeout` seconds.
    """
    loader = DataLoader(
        reader,
        sampler=list(numbers),  # pyright: ignore[reportArgumentType]  # any sized iterable of indices
        batch_size=None,
        num_workers=workers,
        pin_memory=pin,
        timeout=timeout if workers else 0,
        prefetch_factor=2 if workers else None,
        worker_init_fn=_use_one_thread,
    )
    packs = iter(loader)
    for number in numbers:
        try:
            loaded = next(packs)
        except RuntimeError as error:
            if "timed out" not in str(error):
                raise
            raise RunError(
                f"loader: pack {number} did not come within {timeout:g} s. {_whereabouts(reader.plan, number)}"
            ) from error
        assert loaded.number == number
        yield loaded


def step_numbers(plan: Plan, *, rank: int, world: int, first: int) -> Iterator[tuple[int, list[int]]]:
    """(step, this rank's pack numbers, one per micro-step) from step `first` to the end of the epoch."""
    for step in range(first, plan.num_steps):
        mine = share(plan.step(step), rank=rank, world=world)
        yield step, [FILLER if number is None else number for number in mine]


def _whereabouts(plan: Plan, number: int) -> str:
    dataset = plan.dataset
    places = (
        [f"{dataset.shards[dataset.shard[i]].name}#{dataset.row[i]}" for i in plan.pack(number)[:4]]
        if number != FILLER
        else []
    )
    return f"It begins with {', '.join(places)} (shard#row). Look at the worker's stack, or raise --timeout"


@contextmanager
def _deadline(seconds: float) -> Iterator[None]:
    """TimeoutError in what takes longer, where this thread gets signals: in loader processes, and without any."""
    if not seconds or threading.current_thread() is not threading.main_thread():
        yield
        return

    def ring(*_: object) -> None:
        raise TimeoutError(f"took more than {seconds:g} s to decode")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _use_one_thread(_: int) -> None:
    """Workers are many: one thread each."""
    torch.set_num_threads(1)

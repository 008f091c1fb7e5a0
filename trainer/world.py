"""World: the ranks of a run, and the one device of each. A single process on a CPU needs no process group."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch._C._distributed_c10d import HashStore
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh

from trainer.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class World:
    """`mesh` is None where nothing is sharded: one process on a CPU. With more than one replica it has two dimensions:
    the model is sharded inside each replica, and replicas sum their gradients.
    """

    rank: int
    size: int
    device: torch.device
    mesh: DeviceMesh | None
    replicas: int = 1

    @property
    def first(self) -> bool:
        """Whether this rank writes what is written once."""
        return self.rank == 0

    @property
    def first_here(self) -> bool:
        """Whether this rank is the first of its machine."""
        return int(os.environ.get("LOCAL_RANK", "0")) == 0

    def sum(self, values: torch.Tensor) -> torch.Tensor:
        """Sum over ranks, in place."""
        if self.size > 1:
            dist.all_reduce(values)
        return values

    def wait(self) -> None:
        """Wait for all ranks."""
        if self.size > 1:
            dist.barrier()


@contextmanager
def join_world(*, device: str | None = None, replicas: int = 1) -> Iterator[World]:
    """Join the ranks that torchrun started, or be alone; leaves them at the end.

    On a GPU even a single rank gets a mesh, so that it runs the same mixed-precision path as many.

    Args:
        replicas: copies of the model; each is sharded over size / replicas neighbouring ranks (a node, say), so that
            its gathers stay among them.

    Raises:
        UsageError: the ranks cannot be shared out to that many replicas.
    """
    rank, size = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    if replicas < 1 or size % replicas:
        raise UsageError(f"--replicas {replicas}: {size} ranks cannot be shared out. Give a divisor of {size}")
    kind = device or ("cuda" if torch.cuda.is_available() else "cpu")
    place = torch.device(kind, int(os.environ.get("LOCAL_RANK", "0"))) if kind == "cuda" else torch.device(kind)
    if size == 1 and kind == "cpu":
        yield World(rank=0, size=1, device=place, mesh=None)
        return
    if place.type == "cuda":
        torch.cuda.set_device(place)
    backend = "cpu:gloo,cuda:nccl" if place.type == "cuda" else "gloo"
    store = HashStore() if size == 1 else None
    dist.init_process_group(backend, store=store, rank=rank if store else -1, world_size=size if store else -1)
    try:
        shape, names = ((replicas, size // replicas), ("replicate", "shard")) if replicas > 1 else ((size,), ("shard",))
        mesh = init_device_mesh(place.type, shape, mesh_dim_names=names)
        world = World(rank=rank, size=size, device=place, mesh=mesh, replicas=replicas)
        yield world
        world.wait()  # none leaves while another still hears from it
    finally:
        dist.destroy_process_group()

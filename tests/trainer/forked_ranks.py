"""Ranks as torchrun starts them, but forked from one process that has imported everything: starting Python and torch is most of what small
ranks cost. Forks are safe here because nothing has computed yet.

usage: forked_ranks.py RANKS [arguments of vl3-train]
"""

import os
import socket
import sys
from collections.abc import Callable

import torch._dynamo  # noqa: F401  # what the first optimizer loads

import trainer.train  # noqa: F401
from trainer.cli import main
from trainer.process import end_with


def fork_ranks(ranks: int, act: Callable[[], int]) -> int:
    """Call `act` in so many ranks of one world; how many of them failed."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    world = {"WORLD_SIZE": ranks, "LOCAL_WORLD_SIZE": ranks, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    children = []
    for rank in range(ranks):
        if (child := os.fork()) == 0:
            places = {**world, "RANK": rank, "LOCAL_RANK": rank}
            os.environ.update({name: str(value) for name, value in places.items()})
            end_with(act)
        children.append(child)
    return sum(os.waitpid(child, 0)[1] != 0 for child in children)


if __name__ == "__main__":
    sys.exit(fork_ranks(int(sys.argv[1]), lambda: main(sys.argv[2:])))

"""Apart: functions of ours that touch media nobody vouches for, run in a process of their own.

A decoder that hangs or dies then costs one answer, not the caller. Run as a program, this module answers calls on standard input;
`Apart` starts it, and starts it again after it was lost. Both ends are this program, so pickle carries nothing foreign.
"""

import os
import pickle
import selectors
import struct
import subprocess
import sys
from collections.abc import Callable
from typing import IO, Any, ParamSpec, Self, TypeVar

_LENGTH = struct.Struct("<Q")
P = ParamSpec("P")
R = TypeVar("R")


class LostError(Exception):
    """The process did not answer in time, or died; the message says which."""


class Apart:
    """A process that calls functions by their module's name. seconds: how long a call may take."""

    def __init__(self, *, seconds: float = 20.0) -> None:
        self.seconds = seconds
        self._child: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the process."""
        if self._child is not None:
            self._child.kill()
            self._child.communicate()
            self._child = None

    def call(self, function: Callable[P, R], *arguments: P.args, **named: P.kwargs) -> R:
        """What the function returns there.

        Raises:
            LostError: it took too long or killed its process; the next call gets a fresh one.
        """
        child = self._child or self._start()
        assert child.stdin is not None
        assert child.stdout is not None
        try:
            _send(child.stdin, (function, arguments, named))
            with selectors.DefaultSelector() as waiting:
                waiting.register(child.stdout, selectors.EVENT_READ)
                if not waiting.select(self.seconds):
                    self.close()
                    raise LostError(f"took longer than {self.seconds:.0f} s")
            return _receive(child.stdout)
        except (OSError, EOFError):
            self.close()
            raise LostError("the process died of it") from None

    def _start(self) -> "subprocess.Popen[bytes]":
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(p or os.getcwd() for p in sys.path)}  # noqa: PTH109
        self._child = subprocess.Popen(
            [sys.executable, "-m", "pipelines.apart"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment,
        )  # fmt: skip
        return self._child


def _send(file: IO[bytes], value: Any) -> None:
    data = pickle.dumps(value)
    file.write(_LENGTH.pack(len(data)) + data)
    file.flush()


def _receive(file: IO[bytes]) -> Any:
    head = file.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        raise EOFError
    return pickle.loads(file.read(_LENGTH.unpack(head)[0]))


def _answer_calls() -> None:
    # What a library prints must not land among the answers.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    while True:
        try:
            function, arguments, named = _receive(sys.stdin.buffer)
        except EOFError:
            return
        _send(answers, function(*arguments, **named))


if __name__ == "__main__":
    _answer_calls()

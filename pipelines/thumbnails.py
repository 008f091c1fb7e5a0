"""Thumbnails: small pictures of media that nobody vouches for, made in a process of their own.

Dropped samples may never have been decoded before, so a decoder that hangs or dies must cost one picture, not the report. Run as a
program, this module answers requests on standard input; `Thumbnailer` starts it, and starts it again after it was lost.
"""

import io
import os
import pickle
import selectors
import struct
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from curation.sample import Reference, SampleError

if TYPE_CHECKING:
    import numpy as np

_LENGTH = struct.Struct("<Q")
JPEG_QUALITY = 70


@dataclass(frozen=True, slots=True, kw_only=True)
class Thumbnail:
    """Small pictures of one medium. pictures: JPEG; times: seconds of each frame (videos); error: why there are none.

    changes: mean absolute difference of neighbouring frames in grey levels, 0 to 255 (videos, one less than frames).
    """

    pictures: tuple[bytes, ...] = ()
    times: tuple[float, ...] = ()
    changes: tuple[float, ...] = ()
    error: str = ""


class Thumbnailer:
    """Makes thumbnails in a child process. seconds: how long one medium may take."""

    def __init__(self, *, seconds: float = 20.0) -> None:
        self.seconds = seconds
        self._child: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "Thumbnailer":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the child process."""
        if self._child is not None:
            self._child.kill()
            self._child.communicate()
            self._child = None

    def make(self, reference: Reference, kind: str, *, side: int = 160, frames: int = 8) -> Thumbnail:
        """The thumbnail of one medium: at most `side` pixels high and twice as wide; `frames` of a video, evenly in time."""
        child = self._child or self._start()
        assert child.stdin is not None
        assert child.stdout is not None
        try:
            _send(child.stdin, (reference, kind, side, frames))
            with selectors.DefaultSelector() as waiting:
                waiting.register(child.stdout, selectors.EVENT_READ)
                if not waiting.select(self.seconds):
                    raise TimeoutError(f"took longer than {self.seconds:.0f} s to decode")
            return _receive(child.stdout)
        except TimeoutError as error:
            self.close()
            return Thumbnail(error=str(error))
        except (OSError, EOFError):
            self.close()
            return Thumbnail(error="the decoder died of it")

    def _start(self) -> "subprocess.Popen[bytes]":
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(p or os.getcwd() for p in sys.path)}  # noqa: PTH109
        command = [sys.executable, "-m", "pipelines.thumbnails"]
        self._child = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment
        )
        return self._child


def make_thumbnail(reference: Reference, kind: str, side: int, frames: int) -> Thumbnail:
    """A thumbnail in this process; errors of the sample become its `error`."""
    from curation.media.decode import decode_image
    from curation.media.read import read_reference
    from model.packets import MediaError

    try:
        data = read_reference(reference)
        if kind == "video":
            return _strip(data, side, frames)
        return Thumbnail(pictures=(_jpeg(decode_image(data), side),))
    except (SampleError, MediaError, MemoryError) as error:
        return Thumbnail(error=str(error) or type(error).__name__)


def _strip(data: bytes, side: int, frames: int) -> Thumbnail:
    import numpy as np

    from model.frames import decode_frames, plan_frames
    from model.geometry import VisualRules

    rules = VisualRules(fps=4.0, max_frames=frames)
    plan = plan_frames(data, rules, max_seconds=7200.0)
    scale = min(side / plan.height, 2 * side / plan.width, 1.0)
    height, width = max(1, round(plan.height * scale)), max(1, round(plan.width * scale))
    clip = decode_frames(data, plan, height=height, width=width)
    grey = clip.pixels.mean(axis=3)
    changes = tuple(float(c) for c in np.abs(np.diff(grey, axis=0)).mean(axis=(1, 2)))
    pictures = tuple(_jpeg(frame, side) for frame in clip.pixels)
    return Thumbnail(pictures=pictures, times=tuple(clip.times), changes=changes)


def _jpeg(pixels: "np.ndarray", side: int) -> bytes:
    from PIL import Image

    image = Image.fromarray(pixels)
    image.thumbnail((2 * side, side), Image.Resampling.LANCZOS, reducing_gap=2.0)
    file = io.BytesIO()
    image.save(file, "JPEG", quality=JPEG_QUALITY, optimize=True)
    return file.getvalue()


def _send(file: IO[bytes], value: Any) -> None:
    data = pickle.dumps(value)
    file.write(_LENGTH.pack(len(data)) + data)
    file.flush()


def _receive(file: IO[bytes]) -> Any:
    """The next message; both ends are this program's own, so pickle carries nothing foreign."""
    head = file.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        raise EOFError
    data = file.read(_LENGTH.unpack(head)[0])
    return pickle.loads(data)


def _serve() -> None:
    # What a library prints must not land among the answers.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    while True:
        try:
            reference, kind, side, frames = _receive(sys.stdin.buffer)
        except EOFError:
            return
        _send(answers, make_thumbnail(reference, kind, side, frames))


if __name__ == "__main__":
    sys.path = [path for path in sys.path if path != str(Path(__file__).parent)]
    from pipelines import thumbnails  # answers must name the classes as the asker knows them

    thumbnails._serve()

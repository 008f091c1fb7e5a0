"""Pictures and clips for tests of what looks the same: smooth noise at several scales, as photographs have."""

import io
from fractions import Fraction

import av
import cv2
import numpy as np
from PIL import Image

from curation.media.probe import probe_media
from curation.sample import Media, Origin, Sample, caption_turns, make_sample


def photograph(seed: int, height: int = 240, width: int = 320) -> np.ndarray:
    """Colour noise at octaves from the whole picture to some pixels, uint8 RGB."""
    random = np.random.default_rng(seed)
    picture = np.zeros((height, width, 3), np.float32)
    for octave in range(1, 7):
        grid = random.standard_normal((2**octave + 1, 2**octave + 1, 3)).astype(np.float32)
        picture += cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC) / octave
    picture = (picture - picture.min()) / (picture.max() - picture.min())
    return (40 + 180 * picture).astype(np.uint8)


def jpeg(pixels: np.ndarray, quality: int = 85) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=quality)
    return stream.getvalue()


def clip(frames: list[np.ndarray], *, rate: int = 8, options: dict[str, str] | None = None) -> bytes:
    """An MP4 of RGB frames."""
    stream = io.BytesIO()
    with av.open(stream, "w", format="mp4") as container:
        video = container.add_stream(
            "libx264", rate=Fraction(rate), options=options or {"crf": "20", "preset": "veryfast"}
        )
        video.height, video.width, video.pix_fmt = frames[0].shape[0], frames[0].shape[1], "yuv420p"
        for frame in frames:
            container.mux(video.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(video.encode())
    return stream.getvalue()


def film(seeds: list[int], frames_each: int = 8) -> list[np.ndarray]:
    """A pan over one picture after another."""
    return [
        np.ascontiguousarray(photograph(seed, 120, 200)[:, 2 * step : 160 + 2 * step])
        for seed in seeds
        for step in range(frames_each)
    ]


def sample_of(name: str, *data: bytes, kind: str = "image") -> Sample:
    media = [probe_media(Media(kind=kind, data=item)) for item in data]  # pyright: ignore[reportArgumentType]
    origin = Origin(source="test", locator=name, name=name)
    return make_sample(origin, caption_turns(name, [kind] * len(data)), media)  # pyright: ignore[reportArgumentType]

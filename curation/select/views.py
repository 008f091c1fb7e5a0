"""Views: what perceptual dedup keeps of pictures and clips, as fixed-size records in one binary cell per sample.

A picture has one view, or two where a border of one colour surrounds it: the whole, and what lies inside. A clip has a
hash per still and the thumbnail of its middle still.
"""

import cv2
import numpy as np
import polars as pl

from curation.batch import Batch
from curation.media.appearance import SHORT_SIDE
from curation.media.stills import grey_stills
from curation.media.video import Clip
from curation.sample import SampleError
from curation.select.colours import CELLS, colours
from curation.select.dct_hash import SIDE, busy_share, hash_thumbnails, inside_border, thumbnail
from curation.select.fine import is_graphic, pack_fine

# Stills per second of a clip, and at most so many of them (20 minutes).
STILL_RATE, MAX_STILLS = 4.0, 4800

VIEW = np.dtype([
    ("medium", "<u2"), ("hash", "<u8"), ("thumbnail", "u1", (SIDE, SIDE)), ("colours", "u1", (CELLS, CELLS, 2)),
])  # fmt: skip
STILL = np.dtype([("medium", "<u2"), ("time", "<f4"), ("hash", "<u8"), ("busy", "<f4")])
SCHEMA: dict[str, type[pl.DataType]] = {
    "media": pl.UInt16,
    "views": pl.Binary,
    "stills": pl.Binary,
    "size": pl.Float64,
    "graphics": pl.Binary,
}


def signatures(batch: Batch) -> pl.DataFrame:
    """One row per sample: number of media, records of VIEW and of STILL as bytes, pixels times stills ("size"), and fine views.

    Samples without media, and those of which a medium does not decode, get nulls; the latter stand in `batch.errors`.
    """
    rows = [_signature(batch, index) for index in range(len(batch))]
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")


def _signature(batch: Batch, index: int) -> tuple[int | None, bytes | None, bytes | None, float | None, bytes | None]:
    sample = batch.samples[index]
    views, stills, size, fine = [], [], 0.0, b""
    try:
        for number, medium in enumerate(sample.media):
            if medium.kind == "image":
                pixels = batch.pixels(index, number, short_side=SHORT_SIDE)
                records = picture_views(pixels, number)
                fine += fine_views(pixels, records, first=sum(map(len, views)))
                views.append(records)
                size += medium.width * medium.height
            else:
                view, clip = clip_views(batch.clip(index, number), number)
                views.append(view)
                stills.append(clip)
                size += medium.width * medium.height * len(clip)
    except SampleError as error:
        batch.errors[index] = error
        return None, None, None, None, None
    if not views:
        return 0, None, None, None, None
    shown = np.concatenate(views).tobytes()
    return len(sample.media), shown, b"".join(clip.tobytes() for clip in stills), size, fine or None


def picture_views(pixels: np.ndarray, number: int = 0) -> np.ndarray:
    """Records of VIEW of RGB uint8 pixels: the whole picture, then what lies inside its border, if it has one."""
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    bounds = _bounds(grey)
    records = _views(number, np.stack([thumbnail(grey[t:b, s:e]) for t, b, s, e in bounds]))
    records["colours"] = [colours(pixels[t:b, s:e]) for t, b, s, e in bounds]
    return records


def fine_views(pixels: np.ndarray, views: np.ndarray, *, first: int = 0) -> bytes:
    """What `pack_fine` keeps of a picture's views, where it needs any. first: number of the first among its sample's."""
    if not is_graphic(views["thumbnail"], *pixels.shape[:2]):
        return b""
    bounds = _bounds(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY))
    return pack_fine([pixels[t:b, s:e] for t, b, s, e in bounds], first)


def _bounds(grey: np.ndarray) -> list[tuple[int, int, int, int]]:
    """The whole, then what lies inside its border, if it has one."""
    whole, inner = (0, grey.shape[0], 0, grey.shape[1]), inside_border(grey)
    return [whole] if inner == whole else [whole, inner]


def _views(number: int, thumbnails: np.ndarray) -> np.ndarray:
    records = np.zeros(len(thumbnails), VIEW)
    records["medium"], records["thumbnail"] = number, thumbnails
    records["hash"] = hash_thumbnails(thumbnails)
    return records


def clip_views(data: Clip, number: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A clip's middle still as one record of VIEW, and its stills as records of STILL."""
    times, stills = grey_stills(data, rate=STILL_RATE, side=SIDE, most=MAX_STILLS)
    records = np.zeros(len(stills), STILL)
    records["medium"], records["time"], records["hash"] = number, times, hash_thumbnails(stills)
    records["busy"] = busy_share(stills)
    return _views(number, stills[len(stills) // 2][None]), records


def records_of(column: pl.Series, kind: np.dtype) -> tuple[np.ndarray, np.ndarray]:
    """All records of a column of bytes, and the row that each belongs to."""
    cells = column.fill_null(b"")
    counts = cells.bin.size().to_numpy().astype(np.int64) // kind.itemsize
    return np.frombuffer(b"".join(cells.to_list()), kind), np.repeat(np.arange(len(cells)), counts)

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
from curation.sample import SampleError
from curation.select.dct_hash import SIDE, busy_share, hash_thumbnails, inside_border, thumbnail

# Stills per second of a clip, and at most so many of them (20 minutes).
STILL_RATE, MAX_STILLS = 4.0, 4800

VIEW = np.dtype([("medium", "<u2"), ("hash", "<u8"), ("thumbnail", "u1", (SIDE, SIDE))])
STILL = np.dtype([("medium", "<u2"), ("time", "<f4"), ("hash", "<u8"), ("busy", "<f4")])
SCHEMA = {"media": pl.UInt16, "views": pl.Binary, "stills": pl.Binary, "size": pl.Float64}


def signatures(batch: Batch) -> pl.DataFrame:
    """One row per sample: number of media, records of VIEW and of STILL as bytes, and pixels times stills ("size").

    Samples without media, and those of which a medium does not decode, get nulls; the latter stand in `batch.errors`.
    """
    rows = [_signature(batch, index) for index in range(len(batch))]
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")


def _signature(batch: Batch, index: int) -> tuple[int | None, bytes | None, bytes | None, float | None]:
    sample = batch.samples[index]
    views, stills, size = [], [], 0.0
    try:
        for number, medium in enumerate(sample.media):
            if medium.kind == "image":
                views.append(picture_views(batch.pixels(index, number, short_side=SHORT_SIDE), number))
                size += medium.width * medium.height
            else:
                view, clip = clip_views(batch.encoded(index, number), number)
                views.append(view)
                stills.append(clip)
                size += medium.width * medium.height * len(clip)
    except SampleError as error:
        batch.errors[index] = error
        return None, None, None, None
    if not views:
        return 0, None, None, None
    return len(sample.media), np.concatenate(views).tobytes(), b"".join(clip.tobytes() for clip in stills), size


def picture_views(pixels: np.ndarray, number: int = 0) -> np.ndarray:
    """Records of VIEW of RGB uint8 pixels: the whole picture, then what lies inside its border, if it has one."""
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    top, bottom, left, right = inside_border(grey)
    bounds = [(0, grey.shape[0], 0, grey.shape[1])]
    if (top, bottom, left, right) != bounds[0]:
        bounds.append((top, bottom, left, right))
    thumbnails = np.stack([thumbnail(grey[t:b, s:e]) for t, b, s, e in bounds])
    return _views(number, thumbnails)


def _views(number: int, thumbnails: np.ndarray) -> np.ndarray:
    records = np.zeros(len(thumbnails), VIEW)
    records["medium"], records["thumbnail"] = number, thumbnails
    records["hash"] = hash_thumbnails(thumbnails)
    return records


def clip_views(data: bytes, number: int = 0) -> tuple[np.ndarray, np.ndarray]:
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

"""Probe: the header facts of a medium, within the limits, before any pixel is decoded."""

import io
from dataclasses import replace

from curation.media.formats import require_format
from curation.media.headers import read_header
from curation.media.limits import MAX_IMAGE_BYTES, check_bytes
from curation.media.read import open_reference, read_reference
from curation.sample import Media, Reference, SampleError


def probe_media(medium: Media) -> Media:
    """The medium with format, size, frames and, for videos, duration and fps as its content declares them.

    Width and height are as displayed (orientation applied). Bytes come from `data`, else from `reference`; they are not
    kept.

    Raises:
        SampleError: they cannot be read, are no allowed format, have a broken header, or declare more than the limits
        allow.
    """
    return _probe_image(medium) if medium.kind == "image" else _probe_video(medium)


def _probe_image(medium: Media) -> Media:
    data = read_reference(_referred(medium)) if medium.data is None else medium.data
    check_bytes(len(data), what="image", limit=MAX_IMAGE_BYTES)
    image_format = require_format(data, "image")
    header = read_header(data, image_format)
    width, height = header.upright
    return Media(
        kind="image", reference=medium.reference, data=medium.data, size=len(data), digest=medium.digest,
        format=image_format, width=width, height=height, frames=header.frames,
    )  # fmt: skip


def _probe_video(medium: Media) -> Media:
    from curation.media.video import probe_video  # PyAV takes 0.1 s to import, which image corpora need not pay

    with open_reference(_referred(medium)) if medium.data is None else io.BytesIO(medium.data) as file:
        facts = probe_video(file)
        size = file.seek(0, io.SEEK_END)
    return replace(
        medium, size=size, format=facts.format, width=facts.width, height=facts.height,
        duration=facts.duration, fps=facts.fps, frames=facts.frames,
    )  # fmt: skip


def _referred(medium: Media) -> Reference:
    if medium.reference is None:
        raise SampleError(f"{medium.kind} has neither bytes nor a reference: its source must give one of them")
    return medium.reference

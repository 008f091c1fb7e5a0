"""Probe: the header facts of a medium, within the limits, before any pixel is decoded."""

from dataclasses import replace

from curation.media.formats import require_format
from curation.media.headers import read_header
from curation.media.limits import MAX_IMAGE_BYTES, check_bytes
from curation.media.read import read_reference
from curation.sample import Media, SampleError


def probe_media(medium: Media) -> Media:
    """The medium with format, size, frames and, for videos, duration and fps as its content declares them.

    Width and height are as displayed (orientation applied). Bytes come from `data`, else from `reference`; they are not
    kept.

    Raises:
        SampleError: they cannot be read, are no allowed format, have a broken header, or declare more than the limits
        allow.
    """
    data = medium.data
    if data is None:
        if medium.reference is None:
            raise SampleError(f"{medium.kind} has neither bytes nor a reference: its source must give one of them")
        data = read_reference(medium.reference)
    return _probe_image(medium, data) if medium.kind == "image" else _probe_video(medium, data)


def _probe_image(medium: Media, data: bytes) -> Media:
    check_bytes(len(data), what="image", limit=MAX_IMAGE_BYTES)
    image_format = require_format(data, "image")
    header = read_header(data, image_format)
    width, height = header.upright
    return Media(
        kind="image", reference=medium.reference, data=medium.data, size=len(data), digest=medium.digest,
        format=image_format, width=width, height=height, frames=header.frames,
    )  # fmt: skip


def _probe_video(medium: Media, data: bytes) -> Media:
    from curation.media.video import probe_video  # PyAV takes 0.1 s to import, which image corpora need not pay

    facts = probe_video(data)
    return replace(
        medium, size=len(data), format=facts.format, width=facts.width, height=facts.height,
        duration=facts.duration, fps=facts.fps, frames=facts.frames,
    )  # fmt: skip

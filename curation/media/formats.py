"""Formats: what encoded bytes are, judged by their content and never by a file name.

Only formats on these lists reach a decoder: a playlist, a font or an archive inside a file called `.mp4` or `.jpg`
never does.
"""

from curation.sample import Kind, SampleError

# Container -> the demuxer FFmpeg is told to use; it is never left to guess, since guessing admits playlists that open
# other files.
DEMUXERS = {
    "mp4": "mov", "mov": "mov", "webm": "matroska", "mkv": "matroska", "avi": "avi", "flv": "flv", "mpegts": "mpegts",
    "mpegps": "mpeg", "ogg": "ogg", "gif": "gif",
}  # fmt: skip
IMAGES = ("jpeg", "png", "webp", "gif", "bmp", "tiff", "avif")

# So much of the beginning tells.
HEAD_BYTES = 512

_PREFIXES = (
    (b"\xff\xd8\xff", "jpeg"), (b"\x89PNG\r\n\x1a\n", "png"), (b"GIF87a", "gif"), (b"GIF89a", "gif"), (b"BM", "bmp"),
    (b"II*\0", "tiff"), (b"MM\0*", "tiff"), (b"FLV\x01", "flv"), (b"\0\0\x01\xba", "mpegps"), (b"OggS", "ogg"),
    (b"%PDF", "pdf"), (b"PK\x03\x04", "zip archive"), (b"\x1f\x8b", "gzip archive"), (b"#EXTM3U", "playlist"),
    (b"8BPS", "psd"), (b"%!PS", "postscript"), (b"\x80\x04\x95", "pickle"), (b"\x80\x05\x95", "pickle"),
    (b"version https://git-lfs", "git lfs pointer"),
)  # fmt: skip
_QUICKTIME_BOXES = (b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot")


def sniff(data: bytes) -> str:
    """Name of the format the content has, or "" where it is none that is known."""
    for prefix, name in _PREFIXES:
        if data.startswith(prefix):
            return name
    box = data[4:8]
    if box == b"ftyp":
        brand = data[8:12]
        return (
            "avif"
            if brand in (b"avif", b"avis")
            else "heic"
            if brand[:2] in (b"he", b"mi")
            else "mov"
            if brand == b"qt  "
            else "mp4"
        )
    if data.startswith(b"RIFF"):
        return {b"WEBP": "webp", b"AVI ": "avi"}.get(data[8:12], "")
    if data.startswith(b"\x1a\x45\xdf\xa3"):
        return "webm" if b"webm" in data[:64] else "mkv"
    if box in _QUICKTIME_BOXES:
        return "mov"
    if data[:1] == b"\x47" and data[188:189] == b"\x47" and data[376:377] == b"\x47":
        return "mpegts"
    return _sniff_text(data[:HEAD_BYTES].lstrip().lower())


def _sniff_text(start: bytes) -> str:
    if start.startswith((b"<svg", b"<?xml")):
        return "svg" if b"<svg" in start else "xml"
    return "html" if start.startswith((b"<!doctype html", b"<html", b"<head", b"<body")) else ""


def require_format(data: bytes, kind: Kind) -> str:
    """The format of a medium, which must be one that its kind allows.

    Raises:
        SampleError: the bytes are empty, of no known format, or of one that is not allowed.
    """
    if not data:
        raise SampleError(f"{kind} is empty (0 bytes): fetch it again")
    found = sniff(data)
    wanted = IMAGES if kind == "image" else tuple(DEMUXERS)
    if found in wanted:
        return found
    shown = found or f"unknown content ({data[:8].hex(' ')} ...)"
    raise SampleError(f"{kind} is {shown}, wanted {', '.join(wanted)}: convert it or drop it at the source")

"""Fuzz: bytes that no one foresaw through the project's own parsers; whatever comes, a sample's error or a sound answer.

Targets are searched with headers fixed up (checksums, lengths), so that mutations get past the first check.
"""

import json
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn

from curation.media.decode import decode_image
from curation.media.disposable import _is_whole, _leans_nothing
from curation.media.excerpt import clip_reference, excerpt_reference
from curation.media.formats import DEMUXERS, IMAGES, sniff
from curation.media.headers import exif_orientation, read_header
from curation.media.limits import MAX_ANIMATION_FRAMES, MAX_PIXELS
from curation.media.probe import probe_media
from curation.media.video import scan_video
from curation.operator import PartLimits
from curation.sample import BadSample, Media, Reference, Sample, SampleError, turns_from_json, turns_to_json
from curation.sources import ConversationSource, WebDatasetSource
from curation.sources.lines import parse_object
from curation.sources.tar import TarError, pax_records, walk
from tests.curation import hostile
from tests.curation.reading import places, read_all

BLOCK = 512
TALK = {
    "id": "a",
    "image": "a.jpg",
    "conversations": [{"from": "human", "value": "<image>\nwhat?"}, {"from": "gpt", "value": "it"}],
}
WORDS = st.sampled_from(
    [
        "human",
        "gpt",
        "system",
        "from",
        "value",
        "role",
        "content",
        "<image>",
        "<video>",
        "a.jpg",
        "../a.jpg",
        "/etc/passwd",
        "\0",
        "\ud800",
        "time",
        "1",
    ]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | WORDS | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(WORDS | st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)


@st.composite
def tar_headers(draw: DrawFn) -> bytes:
    """A header block whose checksum is right whatever else stands in it, and some of a body."""
    name = draw(st.binary(max_size=100) | st.sampled_from([b"a.jpg", b"a.txt", b"../a.jpg", b"@LongLink", b"b.json"]))
    size = draw(
        st.sampled_from(
            [b"00000000000\0", b"00000000005\0", b"77777777777\0", b"\x80" + bytes(11), b"\xff" * 12, b"-0000000001\0"]
        )
    )
    kind = draw(st.sampled_from([b"0", b"\0", b"x", b"g", b"L", b"K", b"5", b"2", b"S", b"7", b"1"]))
    header = bytearray(BLOCK)
    header[: len(name[:100])] = name[:100]
    header[124:136], header[156:157], header[257:263] = (
        size,
        kind,
        draw(st.sampled_from([b"ustar\0", b"ustar ", bytes(6)])),
    )
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    body = draw(
        st.binary(max_size=20)
        | st.sampled_from([b"30 path=../../etc/passwd\n", b"20 size=99999999999\n", b"0 a=b\n", b"12 size=-5\n"])
    )
    return bytes(header) + body + bytes(draw(st.sampled_from([0, 7, -len(body) % BLOCK])))


@settings(max_examples=150, deadline=None)
@given(st.lists(tar_headers(), max_size=5), st.integers(0, 3))
def test_tar_index_stays_within_the_file(
    tmp_path_factory: pytest.TempPathFactory, blocks: list[bytes], zeros: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "fuzz.tar"
    data = b"".join(blocks) + bytes(BLOCK * zeros)
    path.write_bytes(data)
    try:
        for member in walk(str(path)):
            assert member.fault or 0 <= member.offset <= member.offset + member.size <= len(data)
            assert ".." not in Path(member.name).parts or member.fault
    except TarError:
        pass
    source = WebDatasetSource(str(path))
    whole = read_all(source)
    assert whole
    assert places(whole) == places(read_all(source, PartLimits(rows=1)))
    assert all(isinstance(item, Sample | BadSample) for item in whole)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=80))
def test_pax_records_end(body: bytes) -> None:
    try:
        records = pax_records(body)
    except TarError:
        return
    assert sum(len(key) + len(value) for key, value in records.items()) <= len(body)


STARTS = [
    b"\xff\xd8\xff",
    b"\x89PNG\r\n\x1a\n",
    b"GIF89a",
    b"RIFF\xff\0\0\0WEBPVP8X",
    b"RIFF\xff\0\0\0WEBPVP8 ",
    b"BM",
    b"II*\0",
    b"MM\0*",
    b"\0\0\0\x1cftypavif",
]
PIECES = st.one_of(
    st.binary(max_size=12),
    st.sampled_from(
        [
            b"\xff\xc0\0\x11\x08\x01\0\x01\0\3",
            b"\xff\xda",
            b"\xff\xe1\0\x10Exif\0\0II*\0",
            b"\xff\xff\xff",
            b"\0\0",
            b"\x2c",
            b"\x21\xff",
            b"ANMF",
            b"EXIF",
        ]
    ),
    st.integers(0, 2**32 - 1).map(lambda n: struct.pack(">I", n)),
    st.integers(0, 2**16 - 1).map(lambda n: struct.pack("<H", n)),
    st.binary(max_size=20).map(lambda body: hostile.png_chunk(b"IDAT", zlib.compress(body))),
    st.tuples(st.sampled_from([b"IHDR", b"acTL", b"eXIf", b"IEND"]), st.binary(max_size=20)).map(
        lambda c: hostile.png_chunk(*c)
    ),
)


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(STARTS), st.lists(PIECES, max_size=8))
def test_image_headers_are_within_limits_or_refused(start: bytes, pieces: list[bytes]) -> None:
    data = start + b"".join(pieces)
    form = sniff(data)
    if form not in IMAGES:
        return
    try:
        header = read_header(data, form)
    except SampleError:
        return
    assert 0 < header.width * header.height <= MAX_PIXELS
    assert 1 <= header.orientation <= 8
    assert 1 <= header.frames <= MAX_ANIMATION_FRAMES


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=60))
def test_orientation_is_always_one_of_eight(rest: bytes) -> None:
    for start in (b"II*\0", b"MM\0*", b""):
        assert exif_orientation(start + rest) in range(1, 9)


IMAGE_SEEDS = [hostile.encode(hostile.picture(), form) for form in ("JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP")]


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(IMAGE_SEEDS),
    st.lists(st.tuples(st.floats(0, 1), st.binary(min_size=1, max_size=4)), max_size=5),
    st.sampled_from([0, 16]),
)
def test_mutated_pictures_decode_whole_or_not_at_all(
    seed: bytes, changes: list[tuple[float, bytes]], short_side: int
) -> None:
    data = bytearray(seed)
    for place, value in changes:
        at = int(place * len(data))
        data[at : at + len(value)] = value
    try:
        medium = probe_media(Media(kind="image", data=bytes(data)))
        pixels = decode_image(bytes(data), short_side=short_side)
    except SampleError:
        return
    assert pixels.dtype == np.uint8
    if not short_side:
        assert pixels.shape == (medium.height, medium.width, 3)


CLIP_SEEDS = [
    hostile.clip(frames=8),
    hostile.clip(frames=8, container="matroska"),
    hostile.clip(frames=8, codec="libx264"),
]


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(CLIP_SEEDS),
    st.lists(st.tuples(st.floats(0, 1), st.binary(min_size=1, max_size=6)), min_size=1, max_size=5),
)
def test_mutated_clips_are_scanned_or_refused(seed: bytes, changes: list[tuple[float, bytes]]) -> None:
    data = bytearray(seed)
    for place, value in changes:
        at = int(place * len(data))
        data[at : at + len(value)] = value
    if sniff(bytes(data)) not in DEMUXERS:
        return
    try:
        scan = scan_video(bytes(data))
    except SampleError:
        return
    assert scan.frames > scan.skipped
    assert scan.first <= scan.last
    assert 0 <= scan.look.static <= 1
    assert 0 <= scan.look.text <= 1
    assert 0 < scan.look.kept <= scan.look.tokens


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=60), st.sampled_from([0, 1, 2, 4]))
def test_packets_of_any_bytes_are_judged(data: bytes, length_bytes: int) -> None:
    assert _leans_nothing(data, length_bytes) in (True, False)
    assert _is_whole(data, length_bytes) in (True, False)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.binary(min_size=1, max_size=40), min_size=1, max_size=4), st.integers(0, 200), st.integers(5, 20))
def test_packets_are_whole_until_something_is_missing(units: list[bytes], place: int, length: int) -> None:
    units = [unit.replace(b"\0", b"\7") for unit in units]  # as an encoder leaves them, and more so
    data = b"".join(len(unit).to_bytes(4, "big") + unit for unit in units)
    assert _is_whole(data, 4)
    assert not _is_whole(data[:-1], 4)
    assert not _is_whole(data + b"\7", 4)
    begin = 4 + place % len(units[0])
    holed = data[:begin] + bytes(length) + data[begin + length :]
    assert not _is_whole(holed, 4)


@settings(max_examples=150, deadline=None)
@given(
    st.one_of(
        JSON,
        st.dictionaries(
            st.sampled_from(["id", "image", "video", "conversations", "start_time", "end_time"]), JSON, max_size=5
        ),
        st.just(TALK),
    )
)
def test_conversations_of_any_json_are_samples_or_bad(tmp_path_factory: pytest.TempPathFactory, value: object) -> None:
    path = tmp_path_factory.getbasetemp() / "fuzz.jsonl"
    path.write_bytes(json.dumps(value).encode("utf-8", "surrogatepass") + b"\n" + json.dumps(TALK).encode() + b"\n")
    read = read_all(ConversationSource(str(path)))
    assert 1 <= len(read) <= 2
    for item in read:
        if isinstance(item, Sample):
            assert turns_from_json(turns_to_json(item.turns)) == item.turns
            assert not item.media  # nothing resolves names here
        else:
            assert item.message


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=60) | JSON.map(lambda value: json.dumps(value).encode("utf-8", "surrogatepass")))
def test_lines_of_any_bytes_are_objects_or_refused(line: bytes) -> None:
    try:
        parsed = parse_object(line)
    except SampleError:
        return
    assert isinstance(parsed, dict)


@given(
    st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=30),
    st.integers(0, 10**9),
    st.integers(0, 10**9),
    st.sampled_from(["copy", "encode"]),
)
def test_excerpts_name_the_clip_they_are_cut_from(member: str, begin: int, end: int, way: str) -> None:
    clip = Reference(uri="a.tar", member=member, offset=512, size=1234)
    excerpt = excerpt_reference(clip, begin=begin, end=end, way=way, size=99)  # pyright: ignore[reportArgumentType]
    assert not excerpt.addressable
    assert clip_reference(excerpt) == clip

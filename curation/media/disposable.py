"""Disposable: packets of H.264 whose picture no other picture leans on, so that a clip can be looked at without decoding them.

About half of the pictures of common encodes are such. Every packet names itself: two bits of its first slice's header.
"""

import re
from collections.abc import Callable

from av.packet import Packet
from av.video.stream import VideoStream

# What is looked at of a packet without length fields (start codes only); parameter sets and messages come first.
_HEAD = 4096
_MAX_UNITS = 64
# Slices of non-key pictures, of their first partition, of key pictures.
_SLICES = (1, 2, 5)
# No unit may hold these: an encoder breaks them apart (ITU-T H.264, 7.4.1). Whatever was never written, or wiped, does.
_FORBIDDEN = re.compile(rb"\0\0[\0\1\2]").search


def disposables(stream: VideoStream) -> Callable[[Packet], bool]:
    """A function that says of a packet in file order whether its picture may be left out.

    Never two neighbours in display order, so that what is left shows every second frame at least. False for other
    codecs, for packets without a time stamp, where the bits are not found, and where a packet is not whole: its units
    do not fill it, or hold what no encoder writes, as those of holes and cut files do. So whatever may be left out is
    there; only bits that were changed within it are left to a decoder to see.
    """
    context = stream.codec_context
    if context.name != "h264" or not stream.average_rate or not stream.time_base:
        return lambda _: False
    extra = context.extradata or b""
    length_bytes = (extra[4] & 3) + 1 if len(extra) > 4 and extra[0] == 1 else 0
    apart = 1.5 / float(stream.average_rate * stream.time_base)
    left_out: list[int] = []

    def disposable(packet: Packet) -> bool:
        if packet.pts is None or packet.is_keyframe or any(abs(packet.pts - pts) < apart for pts in left_out):
            return False
        data = bytes(packet)
        if packet.is_corrupt or not _leans_nothing(data, length_bytes) or not _is_whole(data, length_bytes):
            return False
        left_out.append(packet.pts)
        del left_out[:-4]
        return True

    return disposable


def _leans_nothing(data: bytes, length_bytes: int) -> bool:
    """Whether the first slice says that its picture is no reference (nal_ref_idc = 0)."""
    at = 0
    for _ in range(_MAX_UNITS):
        if length_bytes:
            size = int.from_bytes(data[at : at + length_bytes], "big")
            at += length_bytes
        else:
            at, size = data.find(b"\0\0\1", at, _HEAD) + 3, 0
            if at < 3:
                return False
        if at >= len(data):
            return False
        if data[at] & 0x1F in _SLICES:
            return not data[at] & 0x60
        at += size
    return False


def _is_whole(data: bytes, length_bytes: int) -> bool:
    """Whether units fill the packet and hold nothing that no encoder writes; by start codes, no long run of zeros."""
    if not length_bytes:
        return b"\0\0\0\0\0" not in data and b"\0\0\2" not in data
    at = 0
    while at + length_bytes < len(data):
        begin = at + length_bytes
        at = begin + int.from_bytes(data[at:begin], "big")
        # The last bit of a unit is a one, so that it never ends in a zero byte.
        if at == begin or at > len(data) or not data[at - 1] or _FORBIDDEN(data, begin, at):
            return False
    return at == len(data)

"""Tar: the members of a tar by their headers alone. Nothing is extracted, headers are checked, numbers bounded.

ustar, GNU and pax. Python's tarfile would follow sparse maps, read unbounded extended headers and end quietly at a
broken one.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import BinaryIO

from curation.sources.files import safe_name
from curation.uris import open_uri, stat_uri

BLOCK = 512
# Longest extended header (long name, pax records); real ones have a few hundred bytes.
MAX_HEADER_BYTES = 1 << 20
# Members of one tar; their index is held in memory.
MAX_MEMBERS = 2_000_000
_FILE, _FOLDER = b"0\0" + b"7", b"5"
_KINDS = {
    b"1": "a hard link",
    b"2": "a symbolic link",
    b"3": "a device",
    b"4": "a device",
    b"6": "a named pipe",
    b"S": "a sparse file",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A file in a tar.

    header: offset of its first header; offset and size: its bytes; fault: why it must not be used.
    """

    name: str
    header: int
    offset: int = 0
    size: int = 0
    fault: str = ""


class TarError(ValueError):
    """From here on the file cannot be understood as a tar. Message: what was found at which offset."""


def walk(uri: str) -> Iterator[Member]:
    """Members in order; folders are left out, links, devices and sparse files carry a fault.

    Raises:
        TarError: the tar is cut, or a header is broken; the members before it are good.
        OSError: the file cannot be read.
    """
    size, _ = stat_uri(uri)
    with open_uri(uri) as file:
        at = count = 0
        while member := _next_member(file, at, size):
            found, at = member
            count += 1
            if count > MAX_MEMBERS:
                raise TarError(f"more than {MAX_MEMBERS:,} members: cut the tar into smaller ones")
            if found:
                yield found


def _next_member(file: BinaryIO, at: int, end: int) -> tuple[Member | None, int] | None:
    """The member with headers at `at` (None: a folder) and where the next starts; None at the end marker."""
    first, name, length, sparse = at, "", -1, False
    while True:
        header = _header(file, at, end)
        if header is None:
            return None
        kind, size = header[156:157], _number(header[124:136], at)
        if kind in b"xgLK" and kind:
            body = _body(file, at, size, end)
            if kind == b"L":
                name = _text(body.rstrip(b"\0"))
            elif kind == b"x":
                records = pax_records(body, at)
                name = _text(records.get(b"path", name.encode("utf-8", "surrogateescape")))
                length = _decimal(records[b"size"], at) if b"size" in records else length
                sparse = sparse or any(key.startswith(b"GNU.sparse.") for key in records)
            at += BLOCK + _padded(size)
            continue
        size = length if length >= 0 else size
        name = name or _header_name(header)
        return _member(kind, name, first, at + BLOCK, size, end, sparse=sparse)


def _member(
    kind: bytes, name: str, first: int, at: int, size: int, end: int, *, sparse: bool
) -> tuple[Member | None, int]:
    shown = name[:200]
    if kind == _FOLDER or (name.endswith("/") and not size):
        return None, at
    if kind not in _FILE or sparse:
        what = "a sparse file" if sparse else _KINDS.get(kind, f"of unknown type {kind!r}")
        holds = 0 if kind in b"12346" else size
        return Member(name=name, header=first, fault=f"member {shown!r} is {what}: wanted a plain file"), at + _padded(
            holds
        )
    if at + size > end:
        left = max(0, end - at)
        fault = f"member {shown!r} at byte {at:,} declares {size:,} bytes, the file ends after {left:,}: truncated"
        return Member(name=name, header=first, fault=fault), at + _padded(size)
    fault = (
        ""
        if safe_name(name)
        else f"unsafe member name {shown!r}: wanted a relative path without '..', backslash or control characters"
    )
    return Member(name=name, header=first, offset=at, size=size, fault=fault), at + _padded(size)


def _header(file: BinaryIO, at: int, end: int) -> bytes | None:
    """The checked header at `at`, or None where the end marker (a block of zeros) stands."""
    file.seek(at)
    header = file.read(BLOCK)
    if len(header) < BLOCK:
        raise TarError(f"the tar ends at byte {end:,} without an end marker: truncated. Fetch or write it again")
    if not any(header):
        return None
    stored = _number(header[148:156], at)
    blank = header[:148] + b" " * 8 + header[156:]
    if stored not in (sum(blank), sum(byte - 256 if byte > 127 else byte for byte in blank)):
        raise TarError(
            f"no tar header at byte {at:,} (wrong checksum): the rest of the file is not read. Fetch or write it again"
        )
    return header


def _body(file: BinaryIO, at: int, size: int, end: int) -> bytes:
    if size > MAX_HEADER_BYTES:
        raise TarError(f"extended header at byte {at:,} has {size:,} bytes, limit {MAX_HEADER_BYTES:,}")
    if at + BLOCK + size > end:
        raise TarError(f"the tar ends at byte {end:,} in the header at byte {at:,}: truncated. Fetch or write it again")
    file.seek(at + BLOCK)
    return file.read(size)


def pax_records(body: bytes, at: int = 0) -> dict[bytes, bytes]:
    """The records "length key=value\\n" of a pax header.

    Raises:
        TarError: a record is malformed.
    """
    records: dict[bytes, bytes] = {}
    place = 0
    while place < len(body) and body[place] != 0:
        digits, space, _ = body[place : place + 12].partition(b" ")
        length = int(digits) if space and digits.isdigit() else 0
        record = body[place + len(digits) + 1 : place + length]
        key, equals, value = record.partition(b"=")
        if length <= len(digits) + 1 or place + length > len(body) or not equals or not value.endswith(b"\n"):
            raise TarError(f"broken pax header at byte {at:,}. Write the tar again")
        records[key] = value[:-1]
        place += length
    return records


def _number(field: bytes, at: int) -> int:
    """Octal digits, or GNU's base 256 (first bit set)."""
    if field[0] == 0x80:
        return int.from_bytes(field[1:], "big")
    return _digits(field.strip(b" \0") or b"0", 8, at)


def _decimal(field: bytes, at: int) -> int:
    return _digits(field, 10, at)


def _digits(field: bytes, base: int, at: int) -> int:
    if len(field) > 20 or not field.isdigit() or (base == 8 and field.strip(b"01234567")):
        raise TarError(f"broken number {field[:20]!r} in the header at byte {at:,}. Write the tar again")
    return int(field, base)


def _header_name(header: bytes) -> str:
    name = header[:100].partition(b"\0")[0]
    # Only POSIX ustar has a name prefix; old GNU headers keep times there.
    prefix = header[345:500].partition(b"\0")[0] if header[257:263] == b"ustar\0" else b""
    return _text(prefix + b"/" + name if prefix else name)


def _text(name: bytes) -> str:
    # Not UTF-8: lone surrogates, which make the name unsafe but still show it.
    return name.decode("utf-8", "surrogateescape").removeprefix("./")


def _padded(size: int) -> int:
    return (size + BLOCK - 1) // BLOCK * BLOCK


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Adjacent members with one key: a sample, unless there is a fault."""

    key: str
    offset: int
    members: tuple[tuple[str, Member], ...]
    fault: str = ""


@lru_cache(maxsize=16)
def _groups(uri: str, version: tuple[int, int]) -> tuple[Group, ...]:
    del version
    groups: list[Group] = []
    places: dict[str, int] = {}
    key, members, error = "", [], ""

    def close(fault: str = "") -> None:
        if not members:
            return
        offset = members[0][1].header
        earlier = places.setdefault(key, offset)
        if earlier != offset:
            twice = f"key {key!r} at byte {offset:,} stands at byte {earlier:,} already"
            fault = fault or f"{twice}: keys must be unique and their members adjacent"
        groups.append(Group(key=key, offset=offset, members=tuple(members), fault=_fault(members) or fault))

    try:
        for member in walk(uri):
            stem, suffix = split_name(member.name)
            if suffix is None:
                continue
            if stem != key:
                close()
                key, members = stem, []
            members.append((suffix, member))
    except TarError as failure:
        error = str(failure)
    close(error)
    if not groups:  # a shard that lost everything must not vanish without a word
        groups.append(
            Group(key="", offset=0, members=(), fault=error or "the tar holds no samples: write it again, or remove it")
        )
    return tuple(groups)


def tar_groups(uri: str) -> tuple[Group, ...]:
    """The samples of a tar, from its headers; kept per process while the file does not change.

    The last group of a tar that is cut or broken has a fault, because members of it may be missing; a tar without any
    sample is one group with a fault.

    Raises:
        OSError: the file cannot be read.
    """
    return _groups(uri, stat_uri(uri))


def split_name(name: str) -> tuple[str, str | None]:
    """Key (path up to the last component's first dot) and lower-case suffix; None for macOS additions ("._x.jpg")."""
    folder, slash, last = name.rpartition("/")
    if last.startswith("._"):
        return "", None
    stem, _, suffix = last.partition(".")
    return folder + slash + stem, suffix.lower()


def _fault(members: list[tuple[str, Member]]) -> str:
    seen: dict[str, int] = {}
    for suffix, member in members:
        if member.fault:
            return member.fault
        if not suffix or not split_name(member.name)[0].rpartition("/")[2]:
            return f"member {member.name!r} has no key or no suffix: wanted KEY.SUFFIX"
        if suffix in seen:
            return f"member {member.name!r} stands twice, at bytes {seen[suffix]:,} and {member.header:,}"
        seen[suffix] = member.header
    return ""

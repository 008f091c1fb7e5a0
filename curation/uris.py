"""Uris: files on disk and objects in a store, through one door.

A uri is a local path, or a URL that fsspec opens (s3://, gs:// ...). Everything that reads input or writes output goes through here,
so that both work the same on either. Reading an object is retried with back-off for as long as `PATIENCE_SECONDS`, on top of what the
store's client does by itself; what still fails is an OSError like any other.
"""

import io
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, TypeVar, cast

T = TypeVar("T")

# A store that answers nothing for this long is down: the run stops and can be resumed, rather than wait unseen.
PATIENCE_SECONDS = 30.0
# Read ahead of a streaming reader; also the least a request of a seeking one fetches.
BLOCK_BYTES = 4 << 20
_MAGIC = "*?["


def is_remote(uri: str) -> bool:
    """Whether a uri names an object in a store."""
    return "://" in uri and not uri.startswith("file://")


def local_path(uri: str) -> str:
    """The path of a local uri."""
    return uri.removeprefix("file://")


def store_of(uri: str) -> Any:  # fsspec has no types
    """The fsspec file system of a remote uri.

    Raises:
        OSError: the package for this kind of store is not installed; the message names it.
    """
    scheme = uri.partition("://")[0]
    return _store(scheme, os.getpid())


@lru_cache(maxsize=8)
def _store(scheme: str, process: int) -> Any:  # noqa: ARG001  a client must not be shared with a forked process
    import fsspec

    try:
        return fsspec.filesystem(scheme, **_options(scheme))
    except (ImportError, ValueError) as error:
        raise OSError(
            f"{scheme}:// needs a package that is not installed: pip install 'vl3[{scheme}]' ({error})"
        ) from error


def _options(scheme: str) -> dict[str, Any]:
    """S3-compatible servers other than Amazon's are named by AWS_ENDPOINT_URL, as for Amazon's own tools."""
    endpoint = os.environ.get("AWS_ENDPOINT_URL") if scheme == "s3" else None
    fresh: dict[str, Any] = {"use_listings_cache": False}  # a rewritten object must be seen
    return fresh | ({"client_kwargs": {"endpoint_url": endpoint}} if endpoint else {})


def patiently(call: Callable[[], T], *, seconds: float = PATIENCE_SECONDS) -> T:
    """What `call` returns, tried again with doubling pauses while the store fails.

    Raises:
        OSError: it still fails, or the object is not there or not ours to read (which waiting does not change).
    """
    until, pause = time.monotonic() + seconds, 0.2
    while True:
        try:
            return call()
        except (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError):
            raise
        except _client_errors() as error:
            if time.monotonic() + pause > until:
                raise error if isinstance(error, OSError) else OSError(f"{type(error).__name__}: {error}") from error
            time.sleep(pause)
            pause *= 2


def _client_errors() -> tuple[type[Exception], ...]:
    """OSError, and what the clients of stores that are in use raise beside it."""
    beside = (("botocore.exceptions", "BotoCoreError"), ("botocore.exceptions", "ClientError"), ("gcsfs.retry", "HttpError"),
              ("google.auth.exceptions", "GoogleAuthError"), ("aiohttp", "ClientError"))  # fmt: skip
    return (OSError, *(getattr(sys.modules[module], name) for module, name in beside if module in sys.modules))


class RangedStream(io.RawIOBase):
    """A seekable raw stream of `size` bytes that a subclass reads by position."""

    def __init__(self, size: int) -> None:
        self._size, self._at = size, 0

    def read_range(self, buffer: memoryview, at: int) -> int:
        """Fill the buffer from a position on; how many bytes there were."""
        raise NotImplementedError

    def readable(self) -> bool:
        """It can be read."""
        return True

    def seekable(self) -> bool:
        """It can be read from anywhere."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        """Go to a position, also one behind the end; returns it."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        self._at = max(0, base + offset)
        return self._at

    def tell(self) -> int:
        """The position."""
        return self._at

    def readinto(self, buffer: memoryview, /) -> int:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Fill the buffer from the position on, as far as there are bytes; returns how many."""
        wanted = min(len(buffer), max(0, self._size - self._at))
        # Whoever reads everything at once gives a bytearray, whose slices are copies.
        found = self.read_range(memoryview(buffer)[:wanted], self._at)
        self._at += found
        return found


class _Object(RangedStream):
    """An object: each read is one ranged request, retried."""

    def __init__(self, uri: str) -> None:
        super().__init__(stat_uri(uri)[0])
        self._uri = uri

    def read_range(self, buffer: memoryview, at: int) -> int:
        data = read_uri(self._uri, at, len(buffer))
        buffer[: len(data)] = data
        return len(data)


def open_uri(uri: str) -> BinaryIO:
    """A seekable binary stream.

    Raises:
        OSError: it cannot be opened.
    """
    if is_remote(uri):
        return cast(BinaryIO, io.BufferedReader(_Object(uri), BLOCK_BYTES))
    return open(local_path(uri), "rb")


def read_uri(uri: str, start: int, size: int) -> bytes:
    """Bytes [start, start + size) of an object, fewer where it ends; one request.

    Raises:
        OSError: the store does not give them.
    """
    if size <= 0:
        return b""
    store = store_of(uri)
    return patiently(lambda: store.cat_file(uri, start=start, end=start + size))


def stat_uri(uri: str) -> tuple[int, str]:
    """Size in bytes, and a version that changes when the content does: the time of change on disk, the ETag in a store.

    Raises:
        OSError: there is nothing.
    """
    if not is_remote(uri):
        facts = os.stat(local_path(uri))  # noqa: PTH116  often called: Path would cost more than the call
        return facts.st_size, str(facts.st_mtime_ns)
    store = store_of(uri)
    facts = patiently(lambda: store.info(uri))
    return int(facts["size"] or 0), _version(facts)


def _version(facts: dict[str, Any]) -> str:
    known = (facts.get(name) for name in ("ETag", "etag", "generation", "md5Hash", "LastModified", "mtime", "created"))
    return next((str(value) for value in known if value), "")


def find_uris(path: str, suffixes: Sequence[str]) -> list[tuple[str, str, int]]:
    """Objects that a URL means: one object, all below a prefix with one of the suffixes, or those that a glob matches.

    Returns:
        (uri, name below the prefix, size in bytes) of each, in no order. Hidden ones (".x") are left out.

    Raises:
        OSError: the store does not answer.
    """
    store, scheme = store_of(path), path.partition("://")[0]
    root = root_of_url(path)
    if any(c in path for c in _MAGIC):
        found = patiently(lambda: store.glob(path, detail=True))
        wanted: Sequence[str] = ("",)
    elif patiently(lambda: store.isfile(path)):
        found, wanted = {path.partition("://")[2]: patiently(lambda: store.info(path))}, ("",)
    else:
        found, wanted = patiently(lambda: store.find(path, detail=True)), suffixes
    uris = [(f"{scheme}://{key.lstrip('/')}", facts) for key, facts in found.items() if facts.get("type") == "file"]
    named = [(uri, PurePosixPath(uri.removeprefix(root).lstrip("/")).as_posix(), facts) for uri, facts in uris]
    return [
        (uri, name, int(facts["size"] or 0))
        for uri, name, facts in named
        if name.lower().endswith(tuple(wanted)) and not PurePosixPath(name).name.startswith(".")
    ]


@lru_cache(maxsize=256)
def root_of_url(path: str) -> str:
    """What names below a URL are relative to: the prefix itself, an object's parent, or a glob's longest part without wildcards."""
    scheme, _, rest = path.partition("://")
    parts = rest.rstrip("/").split("/")
    plain = next((i for i, part in enumerate(parts) if any(c in part for c in _MAGIC)), -1)
    if plain < 0:
        plain = len(parts) - 1 if "." in parts[-1] and patiently(lambda: store_of(path).isfile(path)) else len(parts)
    return f"{scheme}://{'/'.join(parts[:plain])}"


def directory(uri: str | Path) -> Path:
    """A directory on disk, or in a store: then a path object of universal_pathlib, which has the same methods."""
    if not is_remote(str(uri)):
        return Path(local_path(str(uri))).expanduser().absolute()
    from upath import UPath

    scheme = str(uri).partition("://")[0]
    return cast(Path, UPath(str(uri).rstrip("/"), **_options(scheme)))


@contextmanager
def atomic(path: Path, *, durable: bool = True) -> Iterator[Path]:
    """A temporary file on disk that becomes `path` when the block ends; nothing is left when it raises.

    On disk it lies beside `path`, is brought to disk if `durable`, and renamed. In a store, where nothing can be renamed, it lies in
    the local temporary directory and is uploaded; an object appears whole or not at all.

    Raises:
        OSError: the disk is full, or the store does not take it.
    """
    remote = is_remote(str(path))
    if not remote:
        path.parent.mkdir(parents=True, exist_ok=True)
    parent = Path(tempfile.gettempdir()) if remote else path.parent
    temporary = parent / f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}.tmp"
    try:
        yield temporary
        if remote:
            store = store_of(str(path))
            patiently(lambda: store.put_file(str(temporary), str(path)))
            return
        if durable:
            file = os.open(temporary, os.O_RDONLY)
            try:
                os.fsync(file)
            finally:
                os.close(file)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def name_of_uri(uri: str) -> str:
    """The last component of a path or URL."""
    return Path(local_path(uri)).name if not is_remote(uri) else uri.rstrip("/").rpartition("/")[2]

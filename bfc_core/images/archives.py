"""Archives, opened as if they were hostile: nothing is written to disk, everything is bounded.

`members` streams the regular files of a zip or tar (plain, gzip, bzip2, xz) one at a time. The tar
reader is our own because the standard one holds headers of any size in memory and takes an
archive cut off between two members for a whole one.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from typing import IO, TYPE_CHECKING

from .datasets import Limits, Refused

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_BLOCK = 512
_HEADER_BYTES = 64 << 10
_BROKEN = (EOFError, OSError, zlib.error, lzma.LZMAError, gzip.BadGzipFile)
_TAR_MAGIC = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ\x00")


def is_zip(head: bytes) -> bool:
    return head[:4] in (b"PK\x03\x04", b"PK\x05\x06")


def is_tar(head: bytes) -> bool:
    """Whether `head`, 512 bytes or more, begins a tar archive, plain or compressed."""
    return head.startswith(_TAR_MAGIC) or head[257:262] == b"ustar"


def members(file: IO[bytes], limits: Limits) -> Iterator[tuple[str, bytes]]:
    """(path, content) of each regular file in `file`'s archive; raises `Refused` at the first fault."""
    file.seek(0)
    head = file.read(_BLOCK)
    file.seek(0)
    if is_zip(head):
        yield from _zip_members(file, limits)
    elif is_tar(head):
        yield from _tar_members(_Bounded(_decompressed(file, head, limits), _size(file), limits), limits)
    else:
        raise Refused("not an archive: expected zip, tar, tar.gz, tar.bz2 or tar.xz")


def clean_path(path: str) -> str:
    """`path` without a leading "./"; refuses one that could leave its folder."""
    if (
        not path
        or path.startswith("/")
        or "\\" in path
        or ":" in path.split("/")[0]
        or not path.isprintable()
    ):
        raise Refused(f"path {path[:80]!r} is not a plain relative path")
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise Refused(f"path {path[:80]!r} escapes its folder")
    return "/".join(parts)


def _size(file: IO[bytes]) -> int:
    here = file.tell()
    end = file.seek(0, io.SEEK_END)
    file.seek(here)
    return end


def check_zip(archive: zipfile.ZipFile, packed_bytes: int, limits: Limits) -> list[zipfile.ZipInfo]:
    """The regular files of `archive`, after every check its directory allows."""
    entries = archive.infolist()
    if len(entries) > limits.members:
        raise Refused(f"the archive holds {len(entries)} entries; at most {limits.members} are read")
    total = 0
    names: set[str] = set()
    for entry in entries:
        name = clean_path(entry.filename)
        kind = entry.external_attr >> 28
        if entry.flag_bits & 1:
            raise Refused(f"{name} is encrypted")
        if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise Refused(f"{name} is compressed by a method other than deflate")
        if entry.create_system == 3 and kind not in (0, 4, 8):
            raise Refused(f"{name} is a link or a device, not a file")
        if name in names:
            raise Refused(f"{name} is in the archive twice")
        names.add(name)
        total += entry.file_size
        _check_total(total, packed_bytes, limits)
    if sum(entry.compress_size for entry in entries) > packed_bytes:
        raise Refused("the archive's entries overlap: a zip bomb")
    return [entry for entry in entries if not entry.is_dir()]


def open_zip(file: IO[bytes], limits: Limits) -> zipfile.ZipFile:
    """A zip archive whose directory is small enough to hold."""
    _check_directory(file, limits)
    try:
        return zipfile.ZipFile(file)
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, struct.error) as error:
        raise Refused(f"the zip archive is truncated or broken: {error}") from error


def _check_directory(file: IO[bytes], limits: Limits) -> None:
    size = _size(file)
    file.seek(max(0, size - (64 << 10) - 128))
    tail = file.read()
    file.seek(0)
    end = tail.rfind(b"PK\x05\x06")
    if end < 0 or len(tail) - end < 22:
        raise Refused("the zip archive is truncated: its directory at the end is missing")
    count, directory_bytes = struct.unpack_from("<HI", tail, end + 10)
    wide = tail.rfind(b"PK\x06\x06")
    if 0 <= wide <= end - 56:
        count, directory_bytes = struct.unpack_from("<QQ", tail, wide + 32)
    if count > limits.members or directory_bytes > limits.members * 512:
        raise Refused(f"the archive holds {count} entries; at most {limits.members} are read")


def _zip_members(file: IO[bytes], limits: Limits) -> Iterator[tuple[str, bytes]]:
    with open_zip(file, limits) as archive:
        for entry in check_zip(archive, _size(file), limits):
            if entry.file_size > limits.member_bytes:
                raise Refused(
                    f"{entry.filename} takes {entry.file_size} bytes; at most {limits.member_bytes} are read"
                )
            try:
                with archive.open(entry) as stream:
                    content = stream.read(entry.file_size)
            except (zipfile.BadZipFile, *_BROKEN) as error:
                raise Refused(f"{entry.filename} is truncated or broken: {error}") from error
            if len(content) != entry.file_size:
                raise Refused(f"{entry.filename} is truncated: {len(content)} of {entry.file_size} bytes")
            yield clean_path(entry.filename), content


def _check_total(total: int, packed_bytes: int, limits: Limits) -> None:
    if total > limits.decoded_bytes:
        raise Refused(f"the archive unfolds to more than {limits.decoded_bytes} bytes")
    if total > limits.ratio_floor_bytes and total > limits.ratio * max(1, packed_bytes):
        raise Refused(f"the archive unfolds to more than {limits.ratio} times its size: a decompression bomb")


class _Xz(io.RawIOBase):
    """A decompressed xz stream whose dictionary may not take more memory than `memory_bytes`."""

    def __init__(self, file: IO[bytes], memory_bytes: int) -> None:
        self._file = file
        self._memory_bytes = memory_bytes
        self._engine = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=memory_bytes)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        view = memoryview(buffer)
        while True:
            packed = b""
            if self._engine.eof:
                packed = self._engine.unused_data.lstrip(b"\0") or self._file.read(64 << 10).lstrip(b"\0")
                if not packed:
                    return 0
                self._engine = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=self._memory_bytes)
            elif self._engine.needs_input:
                packed = self._file.read(64 << 10)
                if not packed:
                    raise EOFError("the compressed stream ends early")
            data = self._engine.decompress(packed, len(view))
            if data:
                view[: len(data)] = data
                return len(data)


def _decompressed(file: IO[bytes], head: bytes, limits: Limits) -> IO[bytes]:
    if head.startswith(b"\x1f\x8b"):
        return gzip.GzipFile(fileobj=file)  # type: ignore[return-value]
    if head.startswith(b"BZh"):
        return bz2.BZ2File(file)
    if head.startswith(b"\xfd7zXZ"):
        return io.BufferedReader(_Xz(file, limits.xz_memory_bytes))
    return file


class _Bounded:
    """Reads of exactly the size asked for, counted against the limits."""

    def __init__(self, stream: IO[bytes], packed_bytes: int, limits: Limits) -> None:
        self._stream = stream
        self._packed_bytes = packed_bytes
        self._limits = limits
        self._total = 0

    def read(self, size: int) -> bytes:
        """`size` bytes; fewer only at the end of the stream."""
        self._total += size
        _check_total(self._total, self._packed_bytes, self._limits)
        parts: list[bytes] = []
        while size > 0:
            try:
                part = self._stream.read(size)
            except _BROKEN as error:
                raise Refused(f"the archive is truncated or broken: {error}") from error
            if not part:
                break
            parts.append(part)
            size -= len(part)
        return b"".join(parts)


def _tar_members(stream: _Bounded, limits: Limits) -> Iterator[tuple[str, bytes]]:
    long_name: str | None = None
    seen: set[str] = set()
    while (entry := _tar_header(stream)) is not None:
        if entry.type in (
            tarfile.GNUTYPE_LONGNAME,
            tarfile.XHDTYPE,
            tarfile.XGLTYPE,
            tarfile.SOLARIS_XHDTYPE,
        ):
            content = _tar_content(stream, entry, _HEADER_BYTES)
            if entry.type == tarfile.GNUTYPE_LONGNAME:
                long_name = content.rstrip(b"\0").decode("utf-8", "replace")
            elif entry.type != tarfile.XGLTYPE:
                long_name = _pax_path(content) or long_name
            continue
        name, long_name = clean_path(long_name or entry.name), None
        if entry.isdir():
            continue
        if entry.type not in (tarfile.REGTYPE, tarfile.AREGTYPE):
            raise Refused(f"{name} is a link, a device or a sparse file, not a plain file")
        if name in seen:
            raise Refused(f"{name} is in the archive twice")
        seen.add(name)
        if len(seen) > limits.members:
            raise Refused(f"the archive holds more than {limits.members} entries")
        yield name, _tar_content(stream, entry, limits.member_bytes)


def _tar_header(stream: _Bounded) -> tarfile.TarInfo | None:
    block = stream.read(_BLOCK)
    if len(block) < _BLOCK:
        raise Refused("the tar archive is truncated: its end mark is missing")
    if not any(block):
        return None
    try:
        return tarfile.TarInfo.frombuf(block, "utf-8", "replace")
    except tarfile.HeaderError as error:
        raise Refused(f"the tar archive is broken: {error}") from error


def _tar_content(stream: _Bounded, entry: tarfile.TarInfo, at_most: int) -> bytes:
    if not 0 <= entry.size <= at_most:
        raise Refused(f"{entry.name[:80]} takes {entry.size} bytes; at most {at_most} are read")
    padded = -(-entry.size // _BLOCK) * _BLOCK
    content = stream.read(padded)
    if len(content) < padded:
        raise Refused(f"{entry.name[:80]} is truncated: {len(content)} of {entry.size} bytes")
    return content[: entry.size]


def _pax_path(content: bytes) -> str | None:
    """The `path` of a pax header; a header that also changes the size is refused."""
    path = None
    while content:
        length, space, _ = content.partition(b" ")
        if not space or not length.isdigit() or not 0 < int(length) <= len(content):
            raise Refused("the tar archive is broken: a pax header cannot be read")
        key, _, value = content[len(length) + 1 : int(length) - 1].partition(b"=")
        if key == b"path":
            path = value.decode("utf-8", "replace")
        if key == b"size" or key.startswith(b"GNU.sparse"):
            raise Refused("the tar archive holds a sparse or oversized file")
        content = content[int(length) :]
    return path

"""Tensors by content: each stored once a project, in chunks of 1 MiB, compressed before they are sent.

The hash covers dtype, shape and bytes. What two snapshots share is charged to both and seen by neither.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import zstandard
from sqlalchemy import Connection, text

from bfc_core.records import ITEM_BYTES, Tensor
from store.binary import rows

CHUNK_BYTES = 1 << 20
RAW, ZSTD, SHUFFLED = 0, 1, 2
# Below this saving the reader's time is worth more than the room.
WORTH = 0.9
SAMPLE_BYTES = 1 << 16
FLOATS = ("F64", "F32", "F16", "BF16")
# Chunks are sent in statements of about so many bytes.
SEND_BYTES = 8 << 20
READ_CHUNKS = 8


@dataclass(frozen=True, slots=True)
class Packed:
    """A tensor ready to be sent."""

    hash: bytes
    dtype: str
    shape: tuple[int, ...]
    size: int
    """Raw bytes."""
    chunks: tuple[tuple[int, bytes], ...]

    @property
    def stored_bytes(self) -> int:
        return sum(len(data) for _, data in self.chunks)


def content_hash(dtype: str, shape: Sequence[int], data: bytes | memoryview) -> bytes:
    """sha256 of dtype, shape and bytes."""
    digest = hashlib.sha256(f"{dtype}[{','.join(map(str, shape))}]".encode())
    digest.update(data)
    return digest.digest()


def pack(tensor: Tensor) -> Packed:
    """Hash and compressed chunks of `tensor`; pure, so that it can run outside any transaction."""
    view = memoryview(tensor.data)
    item = ITEM_BYTES[tensor.dtype]
    codec = _codec(tensor.dtype, view)
    chunks = tuple(
        _pressed(view[start : start + CHUNK_BYTES], codec, item) for start in range(0, len(view), CHUNK_BYTES)
    )
    digest = content_hash(tensor.dtype, tensor.shape, view)
    return Packed(digest, tensor.dtype, tensor.shape, len(view), chunks)


FIND = text("""
    UPDATE tensors SET touched_at = now() WHERE project_id = :project AND hash IN (
        SELECT hash FROM tensors WHERE project_id = :project AND hash = ANY(:hashes) ORDER BY hash FOR NO KEY UPDATE)
    RETURNING id, hash""")

ADD = text("""
    INSERT INTO tensors (project_id, hash, dtype, shape, bytes, stored_bytes)
    SELECT :project, hash, dtype, CAST(shape AS bigint[]), bytes, stored
      FROM unnest(CAST(:hashes AS bytea[]), CAST(:dtypes AS text[]), CAST(:shapes AS text[]), CAST(:bytes AS bigint[]),
                  CAST(:stored AS bigint[])) AS fresh(hash, dtype, shape, bytes, stored)
    ORDER BY hash
    ON CONFLICT (project_id, hash) DO UPDATE SET touched_at = now()
    RETURNING id, hash, (xmax = 0) AS made""")

SEND = text("""
    INSERT INTO tensor_chunks (tensor_id, number, codec, data)
    SELECT * FROM unnest(CAST(:ids AS bigint[]), CAST(:numbers AS int[]), CAST(:codecs AS smallint[]),
                         CAST(:data AS bytea[]))""")


# Of a chunk kept as it is, no more than is asked for leaves the database.
CHUNKS = """
    SELECT number, codec, CASE
               WHEN codec <> 0 OR (%(start)s <= number * %(chunk)s AND %(stop)s >= (number + 1) * %(chunk)s) THEN data
               ELSE substring(data FROM 1 + (greatest(%(start)s - number * %(chunk)s, 0))::int
                                    FOR (least(%(stop)s - number * %(chunk)s, %(chunk)s)
                                         - greatest(%(start)s - number * %(chunk)s, 0))::int) END
      FROM tensor_chunks
     WHERE tensor_id = %(id)s AND number BETWEEN %(first)s AND %(last)s ORDER BY number"""

ALL_CHUNKS = """
    SELECT tensor_id, codec, data FROM tensor_chunks WHERE tensor_id = ANY(%(ids)s) ORDER BY tensor_id, number"""


def put(connection: Connection, project_id: str, packed: Sequence[Packed]) -> dict[bytes, int]:
    """Stores those of `packed` that the project does not hold; id by hash of all of them.

    Found ones are touched, so that the collector, which waits for the row, leaves them alone.
    """
    wanted = {one.hash: one for one in packed}
    if not wanted:
        return {}
    rows = connection.execute(FIND, {"project": project_id, "hashes": list(wanted)})
    ids = {bytes(row.hash): int(row.id) for row in rows}
    fresh = [wanted[key] for key in sorted(wanted) if key not in ids]
    if not fresh:
        return ids
    added = connection.execute(
        ADD,
        {
            "project": project_id,
            "hashes": [one.hash for one in fresh],
            "dtypes": [one.dtype for one in fresh],
            "shapes": ["{" + ",".join(map(str, one.shape)) + "}" for one in fresh],
            "bytes": [one.size for one in fresh],
            "stored": [one.stored_bytes for one in fresh],
        },
    ).all()
    ids |= {bytes(row.hash): int(row.id) for row in added}
    made = [(int(row.id), wanted[bytes(row.hash)]) for row in added if row.made]
    _send(connection, made)
    return ids


def read(connection: Connection, tensor_id: int, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
    """The raw bytes `start` … `stop` of one tensor, about 1 MiB at a time."""
    row = connection.execute(text("SELECT dtype, bytes FROM tensors WHERE id = :id"), {"id": tensor_id}).one()
    stop = row.bytes if stop is None else min(stop, row.bytes)
    yield from part(connection, tensor_id, ITEM_BYTES[row.dtype], start, stop)


def edge(start: int, stop: int) -> int:
    """The last end of a chunk after `start` and up to `stop`, both within a tensor; `stop` where there is none.

    Whole chunks leave the database as they are, parts of one are cut out of it first.
    """
    found = stop // CHUNK_BYTES * CHUNK_BYTES
    return found if found > start else stop


def part(connection: Connection, tensor_id: int, item: int, start: int, stop: int) -> Iterator[bytes]:
    """As `read`, in one statement each `READ_CHUNKS`, of a tensor whose elements take `item` bytes."""
    if start >= stop:
        return
    last = (stop - 1) // CHUNK_BYTES
    for first in range(start // CHUNK_BYTES, last + 1, READ_CHUNKS):
        wanted = {"id": tensor_id, "first": first, "last": min(last, first + READ_CHUNKS - 1)}
        wanted |= {"start": start, "stop": stop, "chunk": CHUNK_BYTES}
        for number, codec, data in rows(connection, CHUNKS, wanted):
            if codec == RAW:
                yield data
                continue
            raw = unpress(codec, data, item)
            offset = number * CHUNK_BYTES
            whole = start <= offset and stop >= offset + len(raw)
            yield raw if whole else raw[max(0, start - offset) : stop - offset]


def load(connection: Connection, ids: Mapping[str, int]) -> dict[str, Tensor]:
    """Whole tensors by name, in two statements; for checkpoints and inputs."""
    heads = connection.execute(
        text("SELECT id, dtype, shape FROM tensors WHERE id = ANY(:ids)"), {"ids": list(set(ids.values()))}
    ).all()
    dtypes = {row.id: row.dtype for row in heads}
    raw: dict[int, list[bytes]] = {row.id: [] for row in heads}
    for tensor_id, codec, data in rows(connection, ALL_CHUNKS, {"ids": list(set(ids.values()))}):
        raw[tensor_id].append(unpress(codec, data, ITEM_BYTES[dtypes[tensor_id]]))
    whole = {row.id: Tensor(row.dtype, tuple(row.shape), b"".join(raw[row.id])) for row in heads}
    return {name: whole[tensor_id] for name, tensor_id in ids.items()}


def collect(connection: Connection, *, older_seconds: float = 3600.0, limit: int = 1000) -> int:
    """Deletes tensors that nothing refers to and that nobody has touched for a while; how many."""
    result = connection.execute(
        text("""
            DELETE FROM tensors WHERE id IN (
                SELECT id FROM tensors t WHERE touched_at < now() - make_interval(secs => :older)
                   AND NOT EXISTS (SELECT 1 FROM snapshot_tensors WHERE tensor_id = t.id)
                   AND NOT EXISTS (SELECT 1 FROM dataset_tensors WHERE tensor_id = t.id)
                 ORDER BY project_id, hash LIMIT :limit FOR UPDATE SKIP LOCKED)"""),
        {"older": older_seconds, "limit": limit},
    )
    return result.rowcount


def _codec(dtype: str, view: memoryview) -> int:
    """Tries the codecs on a sample from the middle; the first that pays by a clear margin."""
    if len(view) < 256:
        return RAW
    item = ITEM_BYTES[dtype]
    start = max(0, (len(view) - SAMPLE_BYTES) // 2) // item * item
    sample = view[start : start + SAMPLE_BYTES]
    plain = len(_compress(sample))
    best, size = (ZSTD, plain) if plain < WORTH * len(sample) else (RAW, len(sample))
    if dtype in FLOATS:
        shuffled = len(_compress(_shuffle(sample, item)))
        if shuffled < WORTH * min(size, len(sample)):
            best = SHUFFLED
    return best


def _pressed(view: memoryview, codec: int, item: int) -> tuple[int, bytes]:
    if codec == RAW:
        return RAW, bytes(view)
    data = _compress(_shuffle(view, item) if codec == SHUFFLED else view)
    return (codec, data) if len(data) < len(view) else (RAW, bytes(view))


def unpress(codec: int, data: bytes, item: int) -> bytes:
    """The raw bytes of one chunk; `item` is the size of an element."""
    if codec == RAW:
        return data
    raw = zstandard.ZstdDecompressor().decompress(data, max_output_size=CHUNK_BYTES)
    if codec == ZSTD:
        return raw
    return np.frombuffer(raw, np.uint8).reshape(item, -1).T.tobytes()


def _compress(data: memoryview | bytes) -> bytes:
    return zstandard.ZstdCompressor(level=1).compress(data)


def _shuffle(view: memoryview, item: int) -> bytes:
    """First bytes of all elements, then the second …: exponents lie together and compress."""
    return np.frombuffer(view, np.uint8).reshape(-1, item).T.tobytes()


def _send(connection: Connection, made: Sequence[tuple[int, Packed]]) -> None:
    rows: list[tuple[int, int, int, bytes]] = []
    size = 0
    for tensor_id, one in made:
        for number, (codec, data) in enumerate(one.chunks):
            rows.append((tensor_id, number, codec, data))
            size += len(data)
            if size >= SEND_BYTES:
                _send_rows(connection, rows)
                rows, size = [], 0
    if rows:
        _send_rows(connection, rows)


def _send_rows(connection: Connection, rows: Sequence[tuple[int, int, int, bytes]]) -> None:
    ids, numbers, codecs, data = zip(*rows, strict=True)
    connection.execute(
        SEND, {"ids": list(ids), "numbers": list(numbers), "codecs": list(codecs), "data": list(data)}
    )

"""Snapshots on this side: safetensors files as numpy arrays or torch tensors, read without their library.

The format: eight bytes of little-endian header length, a JSON header `{name: {dtype, shape, data_offsets}}`,
the data.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bfc_client.errors import BadReply
from bfc_client.tables import library

_ITEM_BYTES = {
    "F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1,
}  # fmt: skip
_NUMPY = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2",
    "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1", "U8": "u1", "BOOL": "?",
}  # fmt: skip
_TORCH = {
    "F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16",
    "I64": "int64", "I32": "int32", "I16": "int16", "I8": "int8", "U8": "uint8", "BOOL": "bool",
}  # fmt: skip
_HEADER_LIMIT_BYTES = 100 << 20


@dataclass(frozen=True, slots=True)
class RawTensor:
    """One tensor's bytes, little-endian and row-major."""

    dtype: str
    shape: tuple[int, ...]
    data: memoryview

    def numpy(self) -> Any:
        """A read-only numpy array; bfloat16, which numpy lacks, is widened to float32."""
        numpy = library("numpy", "an array")
        if self.dtype == "BF16":
            wide = numpy.frombuffer(self.data, "<u2").astype("<u4") << 16
            return wide.view("<f4").reshape(self.shape)
        return numpy.frombuffer(self.data, _NUMPY[self.dtype]).reshape(self.shape)

    def torch(self) -> Any:
        """A torch tensor with its own memory."""
        torch = library("torch", "a tensor")
        if not self.data.nbytes:
            return torch.empty(self.shape, dtype=getattr(torch, _TORCH[self.dtype]))
        flat = torch.frombuffer(bytearray(self.data), dtype=getattr(torch, _TORCH[self.dtype]))
        return flat.reshape(self.shape)


class Tensors(Mapping[str, RawTensor]):
    """The tensors of one snapshot by name, with the file's metadata."""

    def __init__(self, content: bytes | memoryview) -> None:
        self._content = memoryview(content)
        self.metadata: dict[str, str]
        self._tensors, self.metadata = _parse(self._content)

    @classmethod
    def read(cls, path: str | Path) -> Tensors:
        """The tensors of a downloaded file."""
        return cls(Path(path).read_bytes())

    def __getitem__(self, name: str) -> RawTensor:
        return self._tensors[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)

    def __bytes__(self) -> bytes:
        return bytes(self._content)

    def __repr__(self) -> str:
        inside = ", ".join(f"{name} {t.dtype}{list(t.shape)}" for name, t in self.items())
        return f"Tensors({inside})"

    def numpy(self) -> dict[str, Any]:
        """All tensors as numpy arrays."""
        return {name: tensor.numpy() for name, tensor in self.items()}

    def torch(self) -> dict[str, Any]:
        """All tensors as torch tensors."""
        return {name: tensor.torch() for name, tensor in self.items()}


def _parse(content: memoryview) -> tuple[dict[str, RawTensor], dict[str, str]]:
    """Raises BadReply where the header, a dtype, a size or an offset is not sound."""
    try:
        header_bytes = int.from_bytes(content[:8], "little")
        if len(content) < 8 or header_bytes > min(_HEADER_LIMIT_BYTES, len(content) - 8):
            raise ValueError("the header is cut off")
        header = json.loads(bytes(content[8 : 8 + header_bytes]))
        data = content[8 + header_bytes :]
        metadata = header.pop("__metadata__", {})
        return {name: _tensor(entry, data) for name, entry in header.items()}, metadata
    except (ValueError, KeyError, TypeError, AttributeError) as fault:
        raise BadReply(f"not a sound safetensors file: {fault}") from fault


def _tensor(entry: dict[str, Any], data: memoryview) -> RawTensor:
    begin, end = entry["data_offsets"]
    shape = tuple(int(size) for size in entry["shape"])
    expected = math.prod(shape) * _ITEM_BYTES[entry["dtype"]]
    if not 0 <= begin <= end <= len(data) or end - begin != expected:
        raise ValueError(f"offsets {begin}:{end} do not hold {entry['dtype']}{list(shape)}")
    return RawTensor(entry["dtype"], shape, data[begin:end])

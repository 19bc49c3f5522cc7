"""Datasets as arrays: `.npz` without pickles and safetensors, read row by row into one array."""

from __future__ import annotations

import json
import struct
import zipfile
import zlib
from collections.abc import Mapping
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from .archives import check_zip, open_zip
from .datasets import Arrays, Labels, Limits, Pixels, Refused

#: Accepted names of each part, the first being ours.
NAMES: Mapping[str, tuple[str, ...]] = {
    "inputs": ("inputs", "x", "images", "data", "x_train", "train_images", "train_inputs"),
    "labels": ("labels", "y", "targets", "y_train", "train_labels"),
    "test_inputs": ("test_inputs", "x_test", "test_images"),
    "test_labels": ("test_labels", "y_test", "test_targets"),
    "class_names": ("class_names", "classes"),
}
_SAFE_DTYPES = {
    "U8": "u1",
    "I8": "i1",
    "I16": "<i2",
    "I32": "<i4",
    "I64": "<i8",
    "F16": "<f2",
    "F32": "<f4",
    "F64": "<f8",
}
_HEADER_BYTES = 1 << 20
_CHUNK_BYTES = 4 << 20


def read_npz(file: IO[bytes], limits: Limits) -> Arrays:
    """The dataset in an `.npz`; an array of objects (a pickle) is refused before a byte of it is read."""
    with open_zip(file, limits) as archive:
        size = file.seek(0, 2)
        arrays: dict[str, NDArray[Any]] = {}
        for entry in check_zip(archive, size, limits):
            name = entry.filename.removesuffix(".npy")
            part = _part_of(name, arrays)
            try:
                with archive.open(entry) as stream:
                    arrays[part] = _read_npy(stream, name, limits)
            except (zipfile.BadZipFile, EOFError, zlib.error) as error:
                raise Refused(f"array {name!r} is truncated or broken: {error}") from error
    return _assemble(arrays, limits)


def read_safetensors(file: IO[bytes], limits: Limits) -> Arrays:
    """The dataset in a safetensors file; class names may stand in its metadata as a JSON list."""
    size = file.seek(0, 2)
    file.seek(0)
    head = file.read(8)
    length = struct.unpack("<Q", head)[0] if len(head) == 8 else size
    if length > min(_HEADER_BYTES, size - 8):
        raise Refused(f"not a safetensors file: a header of {length} bytes in a file of {size}")
    try:
        header = json.loads(file.read(length))
        metadata = header.pop("__metadata__", {})
        layout = {name: _safe_entry(name, entry, limits) for name, entry in header.items()}
    except (ValueError, AttributeError, TypeError, KeyError, RecursionError) as error:
        raise Refused(f"not a safetensors file: its header cannot be read ({error})") from error
    arrays: dict[str, NDArray[Any]] = {}
    at = 0
    for name, (dtype, shape, begin, end) in sorted(layout.items(), key=lambda item: item[1][2]):
        if begin != at or 8 + length + end > size:
            raise Refused(
                f"tensor {name!r} is said to lie at bytes {begin} to {end}: a gap, an overlap or a truncated file"
            )
        at = end
        arrays[_part_of(name, arrays)] = _read_rows(file, name, dtype, shape)
    if 8 + length + at != size:
        raise Refused(f"the file holds {size - 8 - length - at} bytes beyond its tensors")
    if isinstance(names := metadata.get("class_names"), str) and "class_names" not in arrays:
        arrays["class_names"] = _names_from_json(names)
    return _assemble(arrays, limits)


def _part_of(name: str, taken: Mapping[str, Any]) -> str:
    for part, accepted in NAMES.items():
        if name in accepted:
            if part in taken:
                raise Refused(f"array {name!r} names {part} a second time")
            return part
    known = ", ".join(names[0] for names in NAMES.values())
    raise Refused(f"array {name[:80]!r} is not known; accepted: {known} (or x, y, x_test, y_test)")


def _read_npy(stream: IO[bytes], name: str, limits: Limits) -> NDArray[Any]:
    try:
        version = npy.read_magic(stream)
        reader = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}.get(version)
        if reader is None:
            raise Refused(f"array {name!r} is in .npy version {version}; accepted: 1.0 and 2.0")
        shape, fortran, dtype = reader(stream, max_header_size=10_000)
    except ValueError as error:
        raise Refused(f"array {name!r} is not a .npy file: {error}") from error
    if dtype.hasobject:
        raise Refused(f"array {name!r} holds objects (a pickle), which are never read; save plain numbers")
    if dtype.kind not in "uifU" or dtype.names is not None:
        raise Refused(
            f"array {name!r} is of dtype {dtype}; accepted: integers, floats, and strings for class names"
        )
    _check_size(name, dtype, shape, limits)
    if fortran:
        return np.ascontiguousarray(_read_rows(stream, name, dtype, shape[::-1]).T)
    return _read_rows(stream, name, dtype, shape)


def _check_size(name: str, dtype: np.dtype[Any], shape: tuple[int, ...], limits: Limits) -> None:
    total = dtype.itemsize
    for side in shape:
        if not 0 < side < 1 << 40:
            raise Refused(f"array {name!r} has shape {list(shape)}; every side must be at least 1")
        total *= side
    if total > limits.decoded_bytes:
        raise Refused(f"array {name!r} takes {total} bytes; at most {limits.decoded_bytes} are read")


def _safe_entry(
    name: str, entry: Mapping[str, Any], limits: Limits
) -> tuple[np.dtype[Any], tuple[int, ...], int, int]:
    if entry["dtype"] not in _SAFE_DTYPES:
        raise Refused(f"tensor {name!r} is of dtype {entry['dtype']!r}; accepted: {', '.join(_SAFE_DTYPES)}")
    dtype = np.dtype(_SAFE_DTYPES[entry["dtype"]])
    shape = tuple(int(side) for side in entry["shape"])
    begin, end = (int(offset) for offset in entry["data_offsets"])
    _check_size(name, dtype, shape, limits)
    if end - begin != int(np.prod(shape, dtype=object)) * dtype.itemsize:
        raise Refused(f"tensor {name!r} of shape {list(shape)} does not fill bytes {begin} to {end}")
    return dtype, shape, begin, end


def _read_rows(stream: IO[bytes], name: str, dtype: np.dtype[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    """An array of `shape`, filled in bounded pieces; wide floats are narrowed to float32 on the way."""
    target = np.dtype(np.float32) if dtype.kind == "f" else dtype.newbyteorder("=")
    count = int(np.prod(shape, dtype=np.int64)) if shape else 1
    # Grown piece by piece: a header that lies about its shape costs what the file holds, no more.
    pieces: list[NDArray[Any]] = []
    step = max(1, _CHUNK_BYTES // dtype.itemsize)
    for begin in range(0, count, step):
        wanted = min(step, count - begin) * dtype.itemsize
        data = stream.read(wanted)
        if len(data) < wanted:
            raise Refused(f"array {name!r} is truncated: it holds fewer than its {count} numbers")
        pieces.append(np.frombuffer(data, dtype).astype(target))
    if len(pieces) == 1:
        return pieces[0].reshape(shape)
    whole = np.empty(count, target)
    at = 0
    pieces.reverse()
    while pieces:
        piece = pieces.pop()
        whole[at : at + len(piece)] = piece
        at += len(piece)
    return whole.reshape(shape)


def _names_from_json(text: str) -> NDArray[Any]:
    try:
        names = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Refused(f"class_names in the metadata are not a JSON list: {error}") from error
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise Refused("class_names in the metadata must be a JSON list of strings")
    return np.array(names)


def _assemble(arrays: Mapping[str, NDArray[Any]], limits: Limits) -> Arrays:
    missing = [part for part in ("inputs", "labels") if part not in arrays]
    if missing:
        raise Refused(
            f"{' and '.join(missing)} missing; accepted names: "
            + "; ".join(", ".join(NAMES[m]) for m in missing)
        )
    arrays = _named_labels(arrays, limits)
    labels = {
        part: _labels(arrays[part], part, limits) for part in ("labels", "test_labels") if part in arrays
    }
    names: tuple[str, ...] = ()
    if labels["labels"].dtype == np.int64:
        names = _class_names(arrays.get("class_names"), labels["labels"], limits)
    test = arrays.get("test_inputs")
    return Arrays(
        _inputs(arrays["inputs"], limits),
        labels["labels"],
        names,
        None if test is None else _inputs(test, limits),
        labels.get("test_labels"),
    )


def _named_labels(arrays: Mapping[str, NDArray[Any]], limits: Limits) -> Mapping[str, NDArray[Any]]:
    """Labels given by name as numbers of the sorted names (or of `class_names`), in both parts alike."""
    if arrays["labels"].dtype.kind != "U" or arrays["labels"].ndim != 1:
        return arrays
    names = arrays.get("class_names", np.unique(arrays["labels"]))
    if names.dtype.kind != "U" or names.ndim != 1 or not 2 <= len(names) <= limits.classes:
        raise Refused(f"labels name {names.size} classes; accepted: 2 to {limits.classes}, one string each")
    number = {name: i for i, name in enumerate(names.tolist())}
    found = {**arrays, "class_names": names}
    for part in ("labels", "test_labels"):
        given = arrays.get(part)
        if given is None:
            continue
        unknown = sorted(set(given.ravel().tolist()) - set(number), key=str)
        if unknown:
            accepted = "those of class_names" if "class_names" in arrays else "those of the training labels"
            raise Refused(f"{part} name {str(unknown[0])[:80]!r}; accepted: {accepted}")
        found[part] = np.array([number[name] for name in given.tolist()], np.int64)
    return found


def _labels(labels: NDArray[Any], part: str, limits: Limits) -> Labels:
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1:
        raise Refused(f"{part} have shape {list(labels.shape)}; accepted: (n,)")
    if labels.dtype.kind == "f":
        return labels.astype(np.float32, copy=False)
    if labels.dtype.kind not in "ui":
        raise Refused(f"{part} are {labels.dtype}; accepted: integers from 0, names of classes, or real targets")
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= limits.classes:
        raise Refused(f"{part} run from {low} to {high}; accepted: 0 to {limits.classes - 1}")
    return labels.astype(np.int64)


def _class_names(names: NDArray[Any] | None, labels: Labels, limits: Limits) -> tuple[str, ...]:
    if names is None:
        return tuple(str(i) for i in range(int(labels.max()) + 1))
    if names.dtype.kind != "U" or names.ndim != 1 or len(names) > limits.classes:
        raise Refused(
            f"class_names are {names.dtype}{list(names.shape)}; accepted: at most {limits.classes} strings"
        )
    if len(set(names.tolist())) < len(names):
        raise Refused("class_names name a class twice; accepted: different names")
    return tuple(str(name) for name in names)


def _inputs(inputs: NDArray[Any], limits: Limits) -> Pixels:
    """(n, h, w, c) bytes or float32; (n, c, h, w) and (n, h, w) are turned round."""
    if inputs.ndim == 3:
        inputs = inputs[..., None]
    if inputs.ndim not in (2, 4) or inputs.dtype.kind not in "uif":
        found = f"inputs are {inputs.dtype} of shape {list(inputs.shape)}"
        raise Refused(f"{found}; accepted: (n, d) or images (n, h, w, c)")
    if inputs.ndim == 4:
        if inputs.shape[3] not in (1, 3) and inputs.shape[1] in (1, 3):
            inputs = np.ascontiguousarray(inputs.transpose(0, 2, 3, 1))
        if inputs.shape[3] not in (1, 3) or max(inputs.shape[1:3]) > limits.side:
            sides = f"1 or 3 channels and sides up to {limits.side}"
            raise Refused(f"images of shape {list(inputs.shape[1:])}; accepted: {sides}")
    if inputs.dtype.kind == "f":
        return inputs.astype(np.float32, copy=False)
    if inputs.dtype == np.uint8:
        return inputs if inputs.ndim == 4 else inputs.astype(np.float32)
    if inputs.ndim == 4 and (int(inputs.min()) < 0 or int(inputs.max()) > 255):
        raise Refused(f"pixels run from {inputs.min()} to {inputs.max()}; accepted: 0 to 255, or floats")
    return inputs.astype(np.uint8 if inputs.ndim == 4 else np.float32)

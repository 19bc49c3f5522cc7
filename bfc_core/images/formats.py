"""The dataset formats that may be uploaded, each checked while it is read. Torch-free.

CIFAR binary: Krizhevsky, *Learning Multiple Layers of Features from Tiny Images* (2009); a record
is one label byte (CIFAR-100: coarse, then fine) and 3 × 1024 bytes, channel by channel, row by row.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from itertools import chain
from typing import IO, Literal

import numpy as np
from PIL import Image, UnidentifiedImageError

from .archives import is_tar, is_zip, members, open_zip
from .datasets import Arrays, Gathered, Labels, Limits, Pixels, Refused
from .tensorfiles import read_npz, read_safetensors

Format = Literal["cifar10", "cifar100", "npz", "safetensors", "images"]
FORMATS: tuple[Format, ...] = ("cifar10", "cifar100", "npz", "safetensors", "images")

_PIXELS = 3 * 32 * 32
_CIFAR10_NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
_CIFAR_EXTRAS = ("batches.meta.txt", "readme.html", "coarse_label_names.txt", "fine_label_names.txt")
_CIFAR_TEST = ("test_batch.bin", "test.bin")
_ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".ppm", ".pgm")
_READ = ("PNG", "JPEG", "BMP", "PPM")
#: Modes read without a loss of depth: what is transparent counts as opaque. CMYK and 16 bits are refused.
_GREY, _COLOUR = ("1", "L", "LA"), ("P", "PA", "RGB", "RGBA")
_PARTS = {
    "train": "train",
    "training": "train",
    "test": "test",
    "val": "test",
    "valid": "test",
    "validation": "test",
}


def read(kind: str, file: IO[bytes], limits: Limits | None = None) -> Arrays:
    """The dataset in the seekable `file`, wholly checked; raises `Refused` saying what is wrong."""
    limits = limits or Limits()
    file.seek(0)
    if kind in ("cifar10", "cifar100"):
        return _read_cifar(file, 10 if kind == "cifar10" else 100, limits)
    if kind == "npz":
        return read_npz(file, limits)
    if kind == "safetensors":
        return read_safetensors(file, limits)
    if kind == "images":
        return _read_folders(members(file, limits), limits)
    raise Refused(f"format {kind!r} is not known; accepted: {', '.join(FORMATS)}")


def sniff(file: IO[bytes], name: str = "", limits: Limits | None = None) -> Format:
    """The likely format of `file`, from its first bytes and, for the CIFAR binary, size or name."""
    limits = limits or Limits()
    file.seek(0)
    head = file.read(512)
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    if is_zip(head):
        with open_zip(file, limits) as archive:
            names = archive.namelist()
        if names and all(entry.endswith(".npy") for entry in names):
            return "npz"
        return _cifar_kind(name) if any(entry.endswith(".bin") for entry in names) else "images"
    if is_tar(head):
        first = next(members(file, limits), ("", b""))[0]
        return _cifar_kind(name + first) if first.endswith((".bin", *_CIFAR_EXTRAS)) else "images"
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") < size:
        return "safetensors"
    if size and size % (_PIXELS + 1) == 0:
        return "cifar10"
    if size and size % (_PIXELS + 2) == 0:
        return "cifar100"
    raise Refused(
        f"the format cannot be told from the content, and {size} bytes are no whole number of CIFAR records of 3073 or "
        f"3074; accepted: {', '.join(FORMATS)}"
    )


def _cifar_kind(name: str) -> Format:
    return "cifar100" if "100" in name or name.endswith("train.bin") else "cifar10"


def _read_cifar(file: IO[bytes], classes: int, limits: Limits) -> Arrays:
    head = file.read(512)
    file.seek(0)
    parts: dict[str, list[tuple[Pixels, Labels]]] = {"train": [], "test": []}
    names = _CIFAR10_NAMES if classes == 10 else tuple(str(i) for i in range(classes))
    if not (is_zip(head) or is_tar(head)):
        for content in _pieces(file, (_PIXELS + (1 if classes == 10 else 2)) * 2048, limits):
            parts["train"].append(_cifar_records(content, classes, "the file"))
    else:
        for path, content in sorted(members(file, limits), key=lambda member: member[0]):
            base = path.rsplit("/", 1)[-1]
            if base.endswith(".bin"):
                parts["test" if base in _CIFAR_TEST else "train"].append(
                    _cifar_records(content, classes, path)
                )
            elif base not in _CIFAR_EXTRAS:
                raise Refused(
                    f"stray file {path}; accepted: .bin files of records, {', '.join(_CIFAR_EXTRAS)}"
                )
            elif base in ("batches.meta.txt", "fine_label_names.txt"):
                lines = tuple(content.decode("utf-8", "replace").split())
                names = lines if len(lines) == classes else names
    if not parts["train"]:
        raise Refused("no training records: expected a .bin file of records other than the test batch")
    inputs, labels = _joined(parts["train"])
    return Arrays(inputs, labels, names, *(_joined(parts["test"]) if parts["test"] else (None, None)))


def _pieces(file: IO[bytes], piece_bytes: int, limits: Limits) -> Iterator[bytes]:
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    if size > limits.decoded_bytes:
        raise Refused(f"the file takes {size} bytes; at most {limits.decoded_bytes} are read")
    while content := file.read(piece_bytes):
        yield content


def _cifar_records(content: bytes, classes: int, path: str) -> tuple[Pixels, Labels]:
    """Pixels (n, 32, 32, 3) and labels (n,) of whole records."""
    label_bytes = 1 if classes == 10 else 2
    record = _PIXELS + label_bytes
    if not content or len(content) % record:
        whole, rest = divmod(len(content), record)
        raise Refused(
            f"{path} does not hold whole records of {record} bytes: {whole} records and {rest} bytes more"
        )
    rows = np.frombuffer(content, np.uint8).reshape(-1, record)
    labels = rows[:, label_bytes - 1].astype(np.int64)
    bad = np.flatnonzero(labels >= classes)
    if len(bad):
        raise Refused(f"{path}: label {labels[bad[0]]} in record {bad[0]}; accepted: 0 to {classes - 1}")
    if label_bytes == 2 and int(rows[:, 0].max()) >= 20:
        raise Refused(f"{path}: coarse label {rows[:, 0].max()}; accepted: 0 to 19")
    pixels = rows[:, label_bytes:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    return np.ascontiguousarray(pixels), labels


def _joined(parts: list[tuple[Pixels, Labels]]) -> tuple[Pixels, Labels]:
    if len(parts) == 1:
        return parts[0]
    return np.concatenate([pixels for pixels, _ in parts]), np.concatenate([labels for _, labels in parts])


def _read_folders(files: Iterator[tuple[str, bytes]], limits: Limits) -> Arrays:
    """`[train|test/]class/picture`, below at most one folder that holds everything."""
    gathered: dict[str, Gathered] = {"train": Gathered(), "test": Gathered()}
    first = next(files, None)
    if first is None:
        raise Refused("the archive holds no files")
    depth = first[0].count("/")
    wrapped = depth == 3 or (depth == 2 and first[0].split("/")[0] not in _PARTS)
    wrapper = first[0].split("/")[0] if wrapped else None
    shape: tuple[int, ...] | None = None
    total = 0
    for path, content in chain([first], files):
        part, label = _place(path, depth, wrapper)
        pixels = _picture(path, content, shape, limits)
        shape = shape or pixels.shape
        total += pixels.size
        if total > limits.decoded_bytes:
            raise Refused(f"the pictures unfold to more than {limits.decoded_bytes} bytes")
        gathered[part].add(path, label, pixels.tobytes())
    return _folder_arrays(gathered, shape or (), limits)


def _place(path: str, depth: int, wrapper: str | None) -> tuple[str, str]:
    """The part and the class of a picture, from its path."""
    folders = path.split("/")[:-1]
    if path.count("/") != depth or depth not in (1, 2, 3) or (wrapper is not None and folders[0] != wrapper):
        raise Refused(f"stray file {path}: expected class/picture or train/class/picture, all alike")
    if not path.lower().endswith(_ENDINGS):
        raise Refused(f"stray file {path}: not a picture; accepted endings: {', '.join(_ENDINGS)}")
    if wrapper is not None:
        folders = folders[1:]
    if len(folders) == 1:
        return "train", folders[0]
    if folders[0] not in _PARTS:
        raise Refused(
            f"stray file {path}: folder {folders[0]} is neither of {', '.join(sorted(set(_PARTS)))}"
        )
    return _PARTS[folders[0]], folders[1]


def _picture(path: str, content: bytes, shape: tuple[int, ...] | None, limits: Limits) -> Pixels:
    """(h, w, c) bytes: one channel if the first picture is grey, else three."""
    try:
        with Image.open(io.BytesIO(content), formats=_READ) as image:
            width, height = image.size
            if max(width, height) > limits.side:
                raise Refused(f"{path} is {width}×{height}; sides up to {limits.side} are read")
            frames = getattr(image, "n_frames", 1)
            if frames > 1:
                raise Refused(f"{path} moves, it has {frames} frames; accepted: still pictures")
            if image.mode not in (*_GREY, *_COLOUR):
                raise Refused(
                    f"{path} is of mode {image.mode}; accepted: 8 bits a channel, grey or red, green and blue"
                )
            grey = image.mode in _GREY if shape is None else shape[2] == 1
            if grey and image.mode not in _GREY:
                raise Refused(f"{path} is in colour, the first picture is grey; they must agree")
            pixels = np.asarray(image.convert("L" if grey else "RGB"))
    except UnidentifiedImageError as error:
        raise Refused(f"{path} is truncated or not a picture; accepted: {', '.join(_READ)}") from error
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise Refused(f"{path} is truncated or not a picture: {error}") from error
    pixels = pixels[..., None] if grey else pixels
    if shape is not None and pixels.shape != shape:
        raise Refused(f"{path} is {width}×{height}, the first picture {shape[1]}×{shape[0]}; all must agree")
    return pixels


def _folder_arrays(gathered: dict[str, Gathered], shape: tuple[int, ...], limits: Limits) -> Arrays:
    train, test = gathered["train"], gathered["test"]
    if not train.names:
        raise Refused("no training pictures: expected class/picture or train/class/picture")
    names = tuple(sorted(set(train.labels)))
    unknown = sorted(set(test.labels) - set(names))
    if unknown:
        raise Refused(f"class {unknown[0]} has test pictures but no training pictures")
    if not 2 <= len(names) <= limits.classes:
        raise Refused(f"{len(names)} class folders; accepted: 2 to {limits.classes}")
    inputs, labels = train.arrays(shape, names)
    return Arrays(inputs, labels, names, *(test.arrays(shape, names) if test.names else (None, None)))

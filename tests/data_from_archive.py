"""Turn an archive of class folders into every format that may be uploaded, for tests and benches.

    python -m tests.data_from_archive ARCHIVE FOLDER [--train N] [--test N]

writes cifar10.tar.gz (CIFAR binary), arrays.npz, arrays.safetensors and folders.zip with the first
N pictures of each class.
"""

from __future__ import annotations

import argparse
import io
import os
import tarfile
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image
from safetensors.numpy import save_file

from bfc_core.images import formats
from bfc_core.images.datasets import Arrays

#: An archive of real pictures in class folders, `train/class/picture` and `test/class/picture`; tests of it are skipped
#: where the variable names none.
REAL = Path(os.environ.get("BFC_TEST_PICTURES", "no-pictures"))


def few(arrays: Arrays, train: int, test: int) -> Arrays:
    """The first `train` and `test` pictures of each class."""

    def first(labels: np.ndarray, count: int) -> np.ndarray:
        return np.concatenate([np.flatnonzero(labels == c)[:count] for c in range(arrays.classes)])

    assert arrays.test_inputs is not None
    assert arrays.test_labels is not None
    a, b = first(arrays.labels, train), first(arrays.test_labels, test)
    return Arrays(
        arrays.inputs[a], arrays.labels[a], arrays.class_names, arrays.test_inputs[b], arrays.test_labels[b]
    )


def cifar_records(inputs: np.ndarray, labels: np.ndarray) -> bytes:
    """CIFAR-10's binary records: label byte, then the three channels."""
    pixels = inputs.transpose(0, 3, 1, 2).reshape(len(inputs), -1)
    return np.concatenate([labels.astype(np.uint8)[:, None], pixels], axis=1).tobytes()


def write_cifar(arrays: Arrays, path: Path) -> None:
    assert arrays.test_inputs is not None
    assert arrays.test_labels is not None
    order = np.random.default_rng(0).permutation(len(arrays.inputs))
    parts = {
        "batches.meta.txt": "\n".join(arrays.class_names).encode(),
        "data_batch_1.bin": cifar_records(arrays.inputs[order], arrays.labels[order]),
        "test_batch.bin": cifar_records(arrays.test_inputs, arrays.test_labels),
    }
    with tarfile.open(path, "w:gz") as archive:
        for name, content in parts.items():
            entry = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))


def write_folders(arrays: Arrays, path: Path) -> None:
    """train/class/number.png and test/class/number.png in a zip."""
    assert arrays.test_inputs is not None
    assert arrays.test_labels is not None
    parts = {"train": (arrays.inputs, arrays.labels), "test": (arrays.test_inputs, arrays.test_labels)}
    with zipfile.ZipFile(path, "w") as archive:
        for part, (inputs, labels) in parts.items():
            for i, (pixels, label) in enumerate(zip(inputs, labels, strict=True)):
                content = io.BytesIO()
                Image.fromarray(pixels).save(content, "PNG")
                archive.writestr(f"{part}/{arrays.class_names[label]}/{i:05d}.png", content.getvalue())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("archive", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--train", type=int, default=5000)
    parser.add_argument("--test", type=int, default=1000)
    args = parser.parse_args()
    with args.archive.open("rb") as file:
        arrays = few(formats.read("images", file), args.train, args.test)
    args.folder.mkdir(parents=True, exist_ok=True)
    write_cifar(arrays, args.folder / "cifar10.tar.gz")
    write_folders(arrays, args.folder / "folders.zip")
    np.savez(args.folder / "arrays.npz", class_names=np.array(arrays.class_names), **arrays.tensors())
    save_file(arrays.tensors(), args.folder / "arrays.safetensors")


if __name__ == "__main__":
    main()

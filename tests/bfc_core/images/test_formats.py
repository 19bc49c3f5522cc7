"""Every accepted format reads to the same arrays, and every fault is refused in words."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import struct
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save

from bfc_core.images import formats
from bfc_core.images.datasets import Limits, Refused
from tests.data_from_archive import REAL, cifar_records, few, write_cifar, write_folders

RNG = np.random.default_rng(5)
PIXELS = RNG.integers(0, 256, (20, 32, 32, 3), np.uint8)
LABELS = np.arange(20) % 10
NAMED = np.array(["cat", "été", "hund"])[LABELS % 3]


def png(pixels: np.ndarray) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()


def tar_of(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return out.getvalue()


def zip_of(files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return out.getvalue()


def npz_of(**arrays: np.ndarray) -> bytes:
    out = io.BytesIO()
    np.savez(out, allow_pickle=True, **arrays)
    return out.getvalue()


def folder() -> dict[str, bytes]:
    return {
        f"{'train' if i < 16 else 'test'}/{'cat' if i % 2 else 'dog'}/{i:02d}.png": png(PIXELS[i])
        for i in range(20)
    }


def refusal(kind: str, content: bytes, limits: Limits | None = None) -> str:
    with pytest.raises(Refused) as caught:
        formats.read(kind, io.BytesIO(content), limits)
    return caught.value.detail


@pytest.mark.parametrize("pack", [bytes, gzip.compress, bz2.compress, lzma.compress])
def test_folders_read_alike_from_every_kind_of_tar(pack: Callable[[bytes], bytes]) -> None:
    content = pack(tar_of(folder()))
    arrays = formats.read("images", io.BytesIO(content))
    assert formats.sniff(io.BytesIO(content)) == "images"
    assert arrays.class_names == ("cat", "dog")
    assert arrays.describe()["test_samples"] == 4
    dogs = arrays.inputs[arrays.labels == 1]
    np.testing.assert_array_equal(dogs, PIXELS[0:16:2])


def test_folders_in_a_zip_or_below_one_folder_read_the_same() -> None:
    plain = formats.read("images", io.BytesIO(zip_of(folder())))
    wrapped = formats.read(
        "images", io.BytesIO(tar_of({f"mine/{k}": v for k, v in reversed(folder().items())}))
    )
    np.testing.assert_array_equal(plain.inputs, wrapped.inputs)
    np.testing.assert_array_equal(plain.labels, wrapped.labels)


def test_a_plain_file_of_cifar_records_reads_in_order() -> None:
    content = cifar_records(PIXELS, LABELS)
    assert formats.sniff(io.BytesIO(content)) == "cifar10"
    arrays = formats.read("cifar10", io.BytesIO(content))
    np.testing.assert_array_equal(arrays.inputs, PIXELS)
    np.testing.assert_array_equal(arrays.labels, LABELS)


def test_cifar100_records_carry_a_coarse_label_before_the_fine_one() -> None:
    fine = cifar_records(PIXELS, LABELS + 80)
    rows = np.frombuffer(fine, np.uint8).reshape(20, -1)
    content = np.concatenate([np.full((20, 1), 19, np.uint8), rows], axis=1).tobytes()
    np.testing.assert_array_equal(formats.read("cifar100", io.BytesIO(content)).labels, LABELS + 80)
    assert "coarse label 77" in refusal("cifar100", b"\x4d" + content[1:])


def test_npz_and_safetensors_read_the_same_under_any_accepted_name() -> None:
    npz = formats.read(
        "npz", io.BytesIO(npz_of(x=PIXELS.transpose(0, 3, 1, 2), y=LABELS[:, None].astype(np.uint8)))
    )
    content = save(
        {"inputs": PIXELS, "labels": LABELS}, {"class_names": json.dumps([f"c{i}" for i in range(10)])}
    )
    safe = formats.read("safetensors", io.BytesIO(content))
    assert formats.sniff(io.BytesIO(content)) == "safetensors"
    np.testing.assert_array_equal(npz.inputs, safe.inputs)
    np.testing.assert_array_equal(npz.labels, safe.labels)
    assert safe.class_names[3] == "c3"


def test_vectors_with_real_targets_are_a_dataset_without_classes() -> None:
    x, y = RNG.standard_normal((50, 7)), RNG.standard_normal(50)
    arrays = formats.read("npz", io.BytesIO(npz_of(x=x, y=y)))
    assert arrays.classes == 0
    assert arrays.inputs.dtype == np.float32
    np.testing.assert_allclose(arrays.labels, y, rtol=1e-6)


@pytest.mark.parametrize(
    ("cut", "pack"), [(700, bytes), (300, gzip.compress), (300, lzma.compress), (300, bz2.compress)]
)
def test_a_truncated_tar_is_refused(cut: int, pack: Callable[[bytes], bytes]) -> None:
    content = pack(tar_of(folder()))
    assert "truncated" in refusal(
        "images", content[:-cut] if pack is not bytes else content[: len(content) // 2 + cut]
    )


def test_a_tar_cut_exactly_between_two_members_is_refused() -> None:
    whole = tar_of(dict(list(folder().items())[:18]))
    cut = whole[: len(whole.rstrip(b"\0")) // 512 * 512 + 512]
    assert "end mark is missing" in refusal("images", cut)


def test_a_truncated_zip_or_npz_is_refused() -> None:
    assert "truncated" in refusal("images", zip_of(folder())[:-200])
    assert "truncated" in refusal("npz", npz_of(x=PIXELS, y=LABELS)[:-100])


def test_a_wrong_record_size_is_refused_with_the_sizes() -> None:
    detail = refusal("cifar10", cifar_records(PIXELS, LABELS) + b"\0" * 100)
    assert "records of 3073 bytes: 20 records and 100 bytes more" in detail


def test_labels_out_of_range_are_refused_with_the_first_one() -> None:
    assert "label 10 in record 1; accepted: 0 to 9" in refusal("cifar10", cifar_records(PIXELS, LABELS + 9))
    assert "labels run from -1" in refusal("npz", npz_of(x=PIXELS, y=LABELS - 1))
    assert "labels run from 0 to 9" in refusal(
        "npz", npz_of(x=PIXELS, y=LABELS, class_names=np.array(["a", "b"]))
    )
    assert "labels run from 0 to 1000000" in refusal(
        "npz", npz_of(x=PIXELS, y=np.where(LABELS == 9, 10**6, LABELS))
    )


@pytest.mark.parametrize(
    "stray",
    ["README.txt", "train/notes.txt", "train/cat/.DS_Store", "extra/cat/1.png", "train/cat/deep/1.png"],
)
def test_a_stray_file_among_folders_is_refused_by_name(stray: str) -> None:
    assert f"stray file {stray}" in refusal("images", tar_of(folder() | {stray: png(PIXELS[0])}))


def test_a_stray_file_among_cifar_batches_is_refused() -> None:
    files = {"data_batch_1.bin": cifar_records(PIXELS, LABELS), "payload.sh": b"#!"}
    assert "stray file payload.sh" in refusal("cifar10", tar_of(files))


@pytest.mark.parametrize(
    "path", ["../cat/1.png", "/cat/1.png", "cat/../../1.png", "cat\\1.png", "C:/cat/1.png"]
)
@pytest.mark.parametrize("archive", [tar_of, zip_of])
def test_a_path_that_leaves_its_folder_is_refused(
    path: str, archive: Callable[[dict[str, bytes]], bytes]
) -> None:
    detail = refusal("images", archive({path: png(PIXELS[0])}))
    assert "escapes" in detail or "plain relative path" in detail


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE, tarfile.GNUTYPE_SPARSE]
)
def test_links_and_devices_in_a_tar_are_refused(kind: bytes) -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        entry = tarfile.TarInfo("train/cat/1.png")
        entry.type, entry.linkname = kind, "/etc/hostname"
        archive.addfile(entry)
    assert "link, a device" in refusal("images", out.getvalue())


def test_a_symbolic_link_in_a_zip_is_refused() -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        entry = zipfile.ZipInfo("cat/1.png")
        entry.create_system, entry.external_attr = 3, 0o120777 << 16
        archive.writestr(entry, "/etc/hostname")
    assert "link or a device" in refusal("images", out.getvalue())


def test_a_zip_bomb_is_refused_by_its_ratio_before_it_unfolds() -> None:
    bomb = zip_of({f"cat/{i}.png": bytes(30 << 20) for i in range(4)})
    assert len(bomb) < 1 << 20
    assert "bomb" in refusal("images", bomb)


def test_a_compressed_tar_bomb_is_refused_while_it_unfolds() -> None:
    bomb = gzip.compress(tar_of({f"cat/{i}.bin": bytes(40 << 20) for i in range(3)}))
    assert "bomb" in refusal("cifar10", bomb) or "does not hold" in refusal("cifar10", bomb)
    assert "bomb" in refusal("cifar10", bomb, Limits(member_bytes=200 << 20, ratio_floor_bytes=1 << 20))


def test_totals_and_counts_are_bounded() -> None:
    assert "unfolds to more than 1000 bytes" in refusal(
        "images", zip_of(folder()), Limits(decoded_bytes=1000)
    )
    assert "20 entries; at most 10" in refusal("images", zip_of(folder()), Limits(members=10))
    assert "more than 10 entries" in refusal("images", tar_of(folder()), Limits(members=10))
    assert "at most 10 are read" in refusal("images", tar_of(folder()), Limits(member_bytes=10))


def test_entries_that_share_bytes_are_refused() -> None:
    content = bytearray(
        zip_of({"cat/1.png": png(PIXELS[0]), "dog/1.png": png(PIXELS[1])}, zipfile.ZIP_STORED)
    )
    at = content.rfind(b"PK\x01\x02")
    struct.pack_into("<II", content, at + 20, 1 << 24, 1 << 24)
    assert "overlap" in refusal("images", bytes(content))


def test_an_npz_of_objects_is_refused_without_unpickling() -> None:
    class Trap:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return exec, ("raise SystemExit('unpickled')",)

    detail = refusal("npz", npz_of(x=np.array([Trap(), Trap()], object), y=LABELS))
    assert "holds objects (a pickle)" in detail


def test_an_array_whose_header_lies_about_its_size_is_refused() -> None:
    npy = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        npy, {"descr": "|u1", "fortran_order": False, "shape": (10**6, 32, 32, 1)}
    )
    assert "truncated" in refusal("npz", zip_of({"x.npy": npy.getvalue() + bytes(100)}))


@pytest.mark.parametrize(
    ("arrays", "says"),
    [
        ({"x": PIXELS}, "labels missing"),
        ({"x": PIXELS, "y": LABELS[:5]}, "one label an input"),
        ({"x": PIXELS, "y": LABELS, "z": LABELS}, "'z' is not known"),
        ({"x": np.full((20, 4), np.nan), "y": LABELS}, "not finite"),
        ({"x": PIXELS[..., :2], "y": LABELS}, "1 or 3 channels"),
        ({"x": PIXELS.astype(np.complex64), "y": LABELS}, "dtype complex64"),
        ({"x": PIXELS, "y": LABELS, "x_test": PIXELS}, "both inputs and labels"),
        ({"x": PIXELS, "inputs": PIXELS, "y": LABELS}, "a second time"),
        ({"x": PIXELS.astype(np.int32) * 2, "y": LABELS}, "pixels run from"),
        ({"x": PIXELS, "y": LABELS, "class_names": np.array(["a"] * 10)}, "twice"),
        ({"x": PIXELS, "y": np.full(len(LABELS), "cat")}, "name 1 classes; accepted: 2 to 1000"),
        ({"x": PIXELS, "y": NAMED, "class_names": np.array(["cat", "ox"])}, "labels name 'hund'"),
        ({"x": PIXELS, "y": NAMED, "x_test": PIXELS, "y_test": np.full(len(LABELS), "eel")}, "test_labels name 'eel'"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(arrays: dict[str, np.ndarray], says: str) -> None:
    assert says in refusal("npz", npz_of(**arrays))


def test_labels_may_be_names_and_arrays_in_either_order() -> None:
    content = npz_of(x=np.asfortranarray(PIXELS), y=NAMED, x_test=PIXELS, y_test=NAMED[::-1])
    arrays = formats.read("npz", io.BytesIO(content))
    assert arrays.class_names == ("cat", "hund", "été")
    assert [arrays.class_names[label] for label in arrays.labels] == NAMED.tolist()
    assert arrays.test_labels is not None
    assert arrays.test_labels.tolist() == arrays.labels[::-1].tolist()
    np.testing.assert_array_equal(arrays.inputs, PIXELS)


def test_pictures_that_move_or_have_other_channels_are_refused() -> None:
    def saved(image: Image.Image, form: str, **more: object) -> bytes:
        out = io.BytesIO()
        image.save(out, form, **more)
        return out.getvalue()

    frames = [Image.new("RGB", (8, 8), (i, 0, 0)) for i in range(3)]
    moving = saved(frames[0], "PNG", save_all=True, append_images=frames[1:])
    assert "3 frames; accepted: still pictures" in refusal("images", tar_of({"a/1.png": moving}))
    assert "mode CMYK; accepted" in refusal("images", tar_of({"a/1.jpg": saved(Image.new("CMYK", (8, 8)), "JPEG")}))
    deep = Image.fromarray(np.zeros((8, 8), np.uint16))
    assert "mode I;16; accepted" in refusal("images", tar_of({"a/1.png": saved(deep, "PNG")}))
    assert "not a picture; accepted: PNG" in refusal("images", tar_of({"a/1.png": b"hello"}))


def test_broken_safetensors_are_refused() -> None:
    content = save({"inputs": PIXELS, "labels": LABELS})
    assert "header" in refusal("safetensors", b"\xff" * 8 + content[8:])
    assert "truncated file" in refusal("safetensors", content[:-10])
    assert "beyond its tensors" in refusal("safetensors", content + b"!")
    head = json.dumps({"inputs": {"dtype": "U8", "shape": [4], "data_offsets": [0, 9]}}).encode()
    assert "does not fill" in refusal("safetensors", struct.pack("<Q", len(head)) + head + bytes(9))


def test_a_broken_or_odd_picture_is_refused_by_name() -> None:
    assert "train/cat/x.png is truncated" in refusal(
        "images", tar_of(folder() | {"train/cat/x.png": png(PIXELS[0])[:900]})
    )
    assert "x.png is 16×16, the first picture 32×32" in refusal(
        "images", tar_of(folder() | {"train/cat/x.png": png(PIXELS[0, :16, :16])})
    )
    assert "sides up to 512" in refusal("images", tar_of({"cat/1.png": png(np.zeros((600, 2), np.uint8))}))


def test_an_unknown_format_is_refused_with_the_known_ones() -> None:
    assert "accepted: cifar10, cifar100, npz, safetensors, images" in refusal("mat", b"")
    with pytest.raises(Refused, match="cannot be told"):
        formats.sniff(io.BytesIO(b"hello"))


def test_reading_needs_no_torch() -> None:
    code = "import sys, bfc_core.images.formats; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.skipif(not REAL.exists(), reason="BFC_TEST_PICTURES names no archive")
def test_the_real_pictures_read_the_same_in_every_format(tmp_path: Path) -> None:
    with tarfile.open(REAL) as archive:
        wanted = []
        for entry in archive:
            if entry.isfile() and int(entry.name[-8:-4]) < 6:
                wanted.append((entry.name, archive.extractfile(entry).read()))  # type: ignore[union-attr]
            if len(wanted) >= 12:
                break
    assert len(wanted) == 12
    names = {
        name.replace("train/", "test/") if i % 3 == 2 else name: content
        for i, (name, content) in enumerate(wanted)
    }
    arrays = formats.read("images", io.BytesIO(tar_of(names)))
    arrays = few(arrays, 2, 1)
    write_folders(arrays, tmp_path / "folders.zip")
    with (tmp_path / "folders.zip").open("rb") as file:
        again = formats.read("images", file)
    np.testing.assert_array_equal(arrays.inputs, again.inputs)
    write_cifar(arrays, tmp_path / "cifar10.tar.gz")
    with (tmp_path / "cifar10.tar.gz").open("rb") as file:
        assert formats.sniff(file) == "cifar10"
        binary = formats.read("cifar10", file)
    assert sorted(binary.inputs.sum((1, 2, 3))) == sorted(arrays.inputs.sum((1, 2, 3), np.int64))

"""Snapshots: what they hold, whole files with ranges, single tensors in three forms."""

from __future__ import annotations

import io
import json
from typing import Any

import httpx
import numpy as np
import pytest
from safetensors.numpy import load

from bfc_core.records import Tensor
from tests.api.works import Works

NPY = {"Accept": "application/x-npy"}
SAFETENSORS = {"Accept": "application/vnd.safetensors"}
WIDE = np.arange(600_000, dtype=np.float32).reshape(1000, 600)
SMALL = np.array([[1.5, np.nan], [np.inf, -2.0], [0.0, 1.0]], np.float64)
HALF = Tensor(
    "BF16",
    (2, 3),
    np.array([1.0, -2.0, 0.5, 3.0, 4.0, 0.0], np.float32)
    .view(np.uint32)
    .__rshift__(16)
    .astype("<u2")
    .tobytes(),
)


@pytest.fixture
def snapshot(api: httpx.Client, works: Works) -> dict[str, Any]:
    """A snapshot with a wide tensor, one with what is not a number, one in bfloat16, and a scalar."""
    job = api.post("/v1/jobs", json={"kind": "train", "spec": {}}).json()["id"]
    one = works.claimed(job)
    works.snapshot(
        one,
        "weights",
        step=3,
        **{"layer2/weight": WIDE, "small": SMALL, "half": HALF, "one": np.array(7, np.int64)},
    )
    works.snapshot(one, "features", step=4, z2=SMALL)
    (found,) = api.get(f"/v1/jobs/{job}/snapshots", params={"kind": "weights"}).json()["items"]
    return dict(found)


def test_a_snapshot_says_what_it_holds(api: httpx.Client, snapshot: dict[str, Any]) -> None:
    assert (snapshot["step"], snapshot["kind"]) == (3, "weights")
    first = snapshot["tensors"][0]
    assert (first["name"], first["dtype"], first["shape"], first["bytes"]) == (
        "layer2/weight",
        "F32",
        [1000, 600],
        2_400_000,
    )
    assert first["hash"].startswith("sha256:")
    assert api.get(f"/v1/snapshots/{snapshot['id']}").json() == snapshot
    assert len(api.get(f"/v1/jobs/{snapshot['job']}/snapshots").json()["items"]) == 2


def test_a_download_is_one_safetensors_file(api: httpx.Client, snapshot: dict[str, Any]) -> None:
    reply = api.get(f"/v1/snapshots/{snapshot['id']}/download")
    assert int(reply.headers["content-length"]) == len(reply.content)
    header = json.loads(reply.content[8 : 8 + int.from_bytes(reply.content[:8], "little")])
    assert header["half"]["dtype"] == "BF16"
    assert header["__metadata__"]["job"] == snapshot["job"]
    tag = reply.headers["etag"]
    assert (
        api.get(f"/v1/snapshots/{snapshot['id']}/download", headers={"If-None-Match": tag}).status_code == 304
    )


def test_a_part_is_only_of_the_file_that_is_meant(api: httpx.Client, snapshot: dict[str, Any]) -> None:
    path = f"/v1/snapshots/{snapshot['id']}/download"
    tag = api.get(path).headers["etag"]
    for meant, status in ((tag, 206), (f'"other", {tag}', 206), ("*", 206), ('"other"', 412), (f"W/{tag}", 412)):
        reply = api.get(path, headers={"If-Match": meant, "Range": "Bytes=0-9"})
        assert reply.status_code == status, meant
    assert reply.json()["type"] == "urn:bfc-lab:problem:precondition"
    assert api.get("/v1/catalog", headers={"If-Match": '"other"'}).status_code == 412


@pytest.mark.parametrize(
    ("wanted", "part"),
    [
        ("bytes=0-0", slice(0, 1)),
        ("bytes=5-1000000", slice(5, 1_000_001)),
        ("bytes=1048570-1048590", slice(1_048_570, 1_048_591)),
        ("bytes=-7", slice(-7, None)),
        ("bytes=2000000-", slice(2_000_000, None)),
        ("bytes=10-999999999999", slice(10, None)),
    ],
)
def test_a_range_is_that_part_of_the_file(
    api: httpx.Client, snapshot: dict[str, Any], wanted: str, part: slice
) -> None:
    path = f"/v1/snapshots/{snapshot['id']}/download"
    whole = api.get(path).content
    reply = api.get(path, headers={"Range": wanted})
    assert reply.status_code == 206
    assert reply.content == whole[part]
    start, stop, _ = part.indices(len(whole))
    assert reply.headers["content-range"] == f"bytes {start}-{stop - 1}/{len(whole)}"


def test_ranges_that_cannot_be_served(api: httpx.Client, snapshot: dict[str, Any]) -> None:
    path = f"/v1/snapshots/{snapshot['id']}/download"
    beyond = api.get(path, headers={"Range": "bytes=99999999-"})
    assert beyond.status_code == 416
    assert beyond.headers["content-range"].startswith("bytes */")
    assert api.get(path, headers={"Range": "bytes=5-2"}).status_code == 416
    for whole in ("bytes=0-1,5-6", "lines=0-1", "bytes=-"):
        assert api.get(path, headers={"Range": whole}).status_code == 200
    assert api.get(path, headers={"Range": "bytes=0-1", "If-Range": '"old"'}).status_code == 200


@pytest.mark.parametrize("rows", [None, "0:3", "999:", ":-998", "5:5", "-2:", "10:999999"])
def test_a_tensor_as_npy_or_safetensors_with_rows(
    api: httpx.Client, snapshot: dict[str, Any], rows: str | None
) -> None:
    path = f"/v1/snapshots/{snapshot['id']}/tensors/layer2/weight"
    params = {} if rows is None else {"rows": rows}
    expected = WIDE if rows is None else WIDE[slice(*(int(end) if end else None for end in rows.split(":")))]
    npy = api.get(path, params=params, headers=NPY)
    assert int(npy.headers["content-length"]) == len(npy.content)
    assert np.array_equal(np.load(io.BytesIO(npy.content), allow_pickle=False), expected)
    tensors = load(api.get(path, params=params, headers=SAFETENSORS).content)
    assert np.array_equal(tensors["layer2/weight"], expected)


def test_a_tensor_as_json_is_told_with_null_for_what_is_not_a_number(
    api: httpx.Client, snapshot: dict[str, Any]
) -> None:
    path = f"/v1/snapshots/{snapshot['id']}/tensors"
    found = api.get(f"{path}/small", params={"rows": "0:2"}).json()
    assert found == {
        "name": "small",
        "dtype": "F64",
        "shape": [2, 2],
        "rows": [0, 2],
        "data": [[1.5, None], [None, -2.0]],
    }
    assert api.get(f"{path}/one").json()["data"] == 7
    assert api.get(f"{path}/half").json()["data"] == [[1.0, -2.0, 0.5], [3.0, 4.0, 0.0]]


def test_bfloat16_is_widened_for_numpy(api: httpx.Client, snapshot: dict[str, Any]) -> None:
    reply = api.get(f"/v1/snapshots/{snapshot['id']}/tensors/half", headers=NPY)
    array = np.load(io.BytesIO(reply.content), allow_pickle=False)
    assert array.dtype == np.float32
    assert array.tolist() == [[1.0, -2.0, 0.5], [3.0, 4.0, 0.0]]


def test_bad_tensors_and_rows_are_refused(api: httpx.Client, snapshot: dict[str, Any]) -> None:
    path = f"/v1/snapshots/{snapshot['id']}/tensors"
    missing = api.get(f"{path}/smal")
    assert missing.status_code == 404
    assert "small" in missing.json()["detail"]
    for rows in ("1", "a:b", "1:2:3", "0:1;drop"):
        assert api.get(f"{path}/small", params={"rows": rows}).status_code == 422
    assert api.get(f"{path}/one", params={"rows": "0:1"}).status_code == 422
    assert api.get(f"{path}/small", headers={"Accept": "image/png"}).status_code == 406

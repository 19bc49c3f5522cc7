"""Snapshots on this side of the wire."""

import json
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save
from safetensors.torch import save as save_torch
from starlette.responses import Response

from bfc_client import BadReply, Client, Retries, Tensors
from tests.client.paper_lab import PaperLab, Served, problem


def test_a_safetensors_file_reads_as_its_library_wrote_it() -> None:
    wrote = {"W_2": np.arange(6, dtype=np.float32).reshape(2, 3), "steps": np.array([1, 2], dtype=np.int64)}
    read = Tensors(save(wrote, metadata={"step": "500"})).numpy()
    assert all(
        np.array_equal(read[name], wrote[name]) and read[name].dtype == wrote[name].dtype for name in wrote
    )


def test_bfloat16_is_kept_by_torch_and_widened_by_numpy() -> None:
    wrote = torch.tensor([[1.5, -2.0], [0.25, 3.0]], dtype=torch.bfloat16)
    tensors = Tensors(save_torch({"h": wrote}))
    assert torch.equal(tensors["h"].torch(), wrote)
    assert np.array_equal(tensors["h"].numpy(), wrote.float().numpy())


def test_an_empty_tensor_has_its_shape() -> None:
    tensors = Tensors(save({"none": np.zeros((0, 4), dtype=np.float32)}))
    assert tensors["none"].numpy().shape == (0, 4)
    assert tensors["none"].torch().shape == (0, 4)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff" * 16,
        struct.pack("<Q", 1 << 40) + b"{}",
        struct.pack("<Q", 2) + b"[]",
        *(
            struct.pack("<Q", len(head)) + head + b"\0" * 8
            for head in (
                json.dumps({"a": entry}).encode()
                for entry in (
                    {"dtype": "F32", "shape": [2], "data_offsets": [0, 800]},
                    {"dtype": "F32", "shape": [3], "data_offsets": [0, 8]},
                    {"dtype": "F99", "shape": [2], "data_offsets": [0, 8]},
                    {"dtype": "F32", "shape": [-2], "data_offsets": [0, 8]},
                )
            )
        ),
    ],
)
def test_a_broken_file_is_refused(content: bytes) -> None:
    with pytest.raises(BadReply):
        Tensors(content)


def test_a_download_is_whole_or_not_there(lab: PaperLab, at: Served, tmp_path: Path) -> None:
    with Client(at.url, retries=Retries(first_seconds=0.001)) as client:
        lab.faults.append(problem(503, "Not ready"))
        path = client.download("snap_1", tmp_path / "w.safetensors")
        assert Tensors.read(path)["W_2"].numpy().tolist() == [1.0, 2.0, 3.0]
        lab.faults.extend(Response(status_code=500) for _ in range(9))
        with pytest.raises(Exception, match="500"):
            client.download("snap_1", tmp_path / "other.safetensors")
    assert [entry.name for entry in tmp_path.iterdir()] == ["w.safetensors"]

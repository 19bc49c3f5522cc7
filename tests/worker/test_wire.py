import io
import math
import subprocess
import sys

import numpy as np
import pytest

from bfc_core import records
from worker import wire

TENSORS = {
    "w": records.Tensor.of(np.arange(6.0).reshape(2, 3)),
    "e": records.Tensor.of(np.zeros((0,), np.float32)),
}


def through(frame: wire.Frame, parts: list[bytes]) -> wire.Frame:
    stream = io.BytesIO()
    wire.write(stream, frame, parts)
    stream.seek(0)
    found = wire.read(stream)
    assert found is not None
    assert wire.read(stream) is None
    return found


def test_a_checkpoint_comes_through_bit_for_bit() -> None:
    state = {"third": 1 / 3, "tiny": 5e-324, "names": ["ä", "b"], "big": 2**70}
    sent = records.Checkpoint(7, TENSORS, state)
    assert wire.checkpoint_of(through(*wire.encode(3, sent))) == sent


def test_a_result_comes_through() -> None:
    table = records.Table(
        (records.Column("a", "number", "s"), records.Column("b", "string")), ((1.5, "x"), (None, "y"))
    )
    sent = records.Result({"relative_test_error": 0.1}, {"t": table})
    assert wire.result_of(through(*wire.encode(0, sent))) == sent


def test_metrics_are_gathered_and_progress_sends_them() -> None:
    stream = io.BytesIO()
    out = wire.Outgoing(stream, expected=2)
    out.put(0, records.Metric(1, "loss", math.inf))
    out.put(1, records.Metric(1, "loss", 0.25, layer=2, unit="u"))
    out.put(0, records.Progress(1, 9))
    assert stream.getvalue() == b""
    out.put(1, records.Progress(2, 9))
    stream.seek(0)
    metrics, progress = wire.read(stream), wire.read(stream)
    assert metrics is not None
    assert progress is not None
    assert metrics.head["items"] == [[0, 1, "loss", math.inf, None, None], [1, 1, "loss", 0.25, 2, "u"]]
    assert progress.head["items"] == [[0, 1, 9, "step"], [1, 2, 9, "step"]]


@pytest.mark.parametrize("cut", [2, 13, 40])
def test_a_line_that_ends_within_a_frame_is_told(cut: int) -> None:
    stream = io.BytesIO()
    wire.write(stream, *wire.encode(0, records.Checkpoint(7, TENSORS, {})))
    with pytest.raises(wire.WireError):
        wire.read(io.BytesIO(stream.getvalue()[:cut]))


def test_a_frame_of_absurd_length_is_refused_before_it_is_read() -> None:
    with pytest.raises(wire.WireError):
        wire.read(io.BytesIO(b"\xff" * 12))


def test_the_worker_process_never_loads_torch() -> None:
    code = (
        "import sys, worker.__main__, worker.app, worker.pulse, worker.conclude;"
        "sys.exit(any(name.split('.')[0] == 'torch' for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

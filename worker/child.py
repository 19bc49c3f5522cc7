"""The child: one process, one job (or one pack). It alone loads torch; it knows neither database nor broker.

    python -m worker.child RECORDS_FD PARENT_PID

Started ahead of need, it imports torch, says so, and waits on stdin for its work; records go to the pipe
RECORDS_FD. It ends when its work has, when it is told to, or with its parent.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from bfc_core.records import Checkpoint, Failure, Record, Result, Tensor
from worker import wire
from worker.tether import die_with_parent


@dataclass(slots=True)
class Stored:
    """A stored snapshot that a probe job names."""

    id: str
    job_id: str
    step: int
    kind: str
    meta: dict[str, Any]
    spec: dict[str, Any]
    """Spec of the job that kept it."""
    tensors: dict[str, Tensor]


@dataclass(slots=True)
class Inputs:
    """What the worker fetched for the job beside its spec."""

    snapshots: list[Stored] = field(default_factory=list)
    datasets: dict[str, wire.Frame] = field(default_factory=dict)

    def dataset(self, dataset_id: str) -> Any:
        """An uploaded data set's arrays; `KeyError` for one that was not sent."""
        from bfc_core.images.datasets import Arrays

        frame = self.datasets[dataset_id]
        arrays = {name: tensor.numpy() for name, tensor in wire.tensors_of(frame).items()}
        return Arrays.of(arrays, tuple(frame.head["class_names"]))


@dataclass(slots=True)
class Work:
    """What the child was asked to do."""

    job: dict[str, Any]
    resume: dict[int, Checkpoint] = field(default_factory=dict)
    inputs: Inputs = field(default_factory=Inputs)


class Requests:
    """What the worker asks for while the work goes on; heard by a thread of its own."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.checkpoint = threading.Event()
        self.stop = threading.Event()
        self.gone: set[int] = set()

    def listen(self) -> None:
        """Hears until the worker closes the line: then there is nobody left to work for."""
        with contextlib.suppress(wire.WireError, OSError):
            while (frame := wire.read(self._stream)) is not None:
                self.take(frame)
        os._exit(3)

    def take(self, frame: wire.Frame) -> None:
        match frame.kind:
            case "gone":
                # A new set, because the engine may be looking at the old one.
                self.gone = self.gone | set(frame.head["slots"])
            case "stop":
                self.stop.set()
                self.checkpoint.set()
            case "checkpoint":
                self.checkpoint.set()

    def asked(self) -> bool:
        return self.checkpoint.is_set()


def main(arguments: list[str]) -> None:
    records_fd, parent = int(arguments[0]), int(arguments[1])
    die_with_parent(parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    from bfc_core.run import run, run_pack

    out = wire.Outgoing(os.fdopen(records_fd, "wb"))
    wire.write(out.stream, wire.Frame({"t": "ready", "facts": facts()}))
    work = receive(sys.stdin.buffer)
    if trace := work.job.get("trace_id"):
        # Whatever it starts belongs to the same trace, and what it says is told with it.
        os.environ["TRACEPARENT"] = f"00-{trace}-{os.getpid():016x}-01"
        print(f"{work.job['kind']} of trace {trace} begins", file=sys.stderr, flush=True)
    requests = Requests(sys.stdin.buffer)
    signal.signal(signal.SIGTERM, lambda *_: requests.take(wire.Frame({"t": "stop"})))
    threading.Thread(target=requests.listen, daemon=True).start()
    wire.write(
        out.stream,
        wire.Frame({"t": "end"} | follow(records(run, run_pack, work, requests), work, requests, out)),
    )
    # Tearing torch down takes longer than many a job.
    os._exit(0)


def receive(stream: BinaryIO) -> Work:
    """The work, from the frames up to `go`."""
    work = Work({})
    while (frame := wire.read(stream)) is not None:
        match frame.kind:
            case "job":
                work.job = frame.head
            case "checkpoint":
                work.resume[frame.head["slot"]] = wire.checkpoint_of(frame)
            case "dataset":
                work.inputs.datasets[frame.head["id"]] = frame
            case "snapshot":
                fields = {name: frame.head[name] for name in ("id", "job_id", "step", "kind", "meta", "spec")}
                work.inputs.snapshots.append(Stored(**fields, tensors=wire.tensors_of(frame)))
            case "go":
                return work
    os._exit(0)


def records(run: Any, run_pack: Any, work: Work, requests: Requests) -> Iterator[tuple[int, Record]]:
    """The engine's records, as (slot, record) for one job as for a pack."""
    from bfc_core import specs

    job = work.job
    shared = {
        "device": job["device"],
        "dtype": job["dtype"],
        "threads": job["threads"],
        "checkpoint_now": requests.asked,
    }
    loaded = [specs.load(job["kind"], spec) for spec in job["specs"]]
    shared["inputs"] = work.inputs
    if job["pack"]:
        slots = set(job["slots"])
        yield from run_pack(loaded, resume=work.resume, active=slots, gone=lambda: requests.gone, **shared)
    else:
        slot = job["slots"][0]
        for record in run(loaded[0], resume=work.resume.get(slot), **shared):
            yield slot, record


def follow(
    stream: Iterator[tuple[int, Record]], work: Work, requests: Requests, out: wire.Outgoing
) -> dict[str, Any]:
    """Sends the records on; how it ended: `done`, `stopped`, `memory` or `error`."""
    alive = set(work.job["slots"])
    given: set[int] = set()
    try:
        out.expected = len(alive)
        for slot, record in stream:
            out.put(slot, record)
            if isinstance(record, Result | Failure):
                alive.discard(slot)
                out.expected = max(1, len(alive))
            elif isinstance(record, Checkpoint) and requests.asked():
                given.add(slot)
                if given >= alive - requests.gone:
                    given = set()
                    requests.checkpoint.clear()
                    if requests.stop.is_set():
                        out.flush()
                        return {"how": "stopped"}
        out.flush()
        return {"how": "done"}
    except MemoryError as error:
        return {"how": "memory", "message": str(error) or "MemoryError"}
    except Exception as error:  # noqa: BLE001  whatever the engine raises is this job's end, and is told
        if _out_of_memory(error):
            return {"how": "memory", "message": str(error)}
        with contextlib.suppress(OSError):
            out.flush()
        return {
            "how": "error",
            "type": type(error).__name__,
            "message": str(error)[:2000],
            "trace": traceback.format_exc()[-8000:],
        }


def _out_of_memory(error: Exception) -> bool:
    import torch

    words = str(error)
    return isinstance(error, torch.OutOfMemoryError) or "DefaultCPUAllocator: can't allocate memory" in words


def facts() -> dict[str, Any]:
    """Versions, hardware and determinism: what the numbers may depend on beside the spec."""
    import platform

    import numpy as np
    import torch

    found: dict[str, Any] = {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "platform": platform.platform(),
        "processor": _processor(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "code": code(),
    }
    # Asking costs a second on a GPU and nothing without.
    if os.environ.get("CUDA_VISIBLE_DEVICES") and torch.cuda.is_available():
        found |= {"gpu": torch.cuda.get_device_name(0), "cuda": torch.version.cuda}
    return found


def code() -> str:
    """What the science was at: the hash of every source file of `bfc_core`, in the order of their names."""
    import hashlib
    from pathlib import Path

    import bfc_core

    root = Path(bfc_core.__file__).parent
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        digest.update(f"{path.relative_to(root).as_posix()}\0".encode() + path.read_bytes())
    return f"sha256:{digest.hexdigest()}"


def _processor() -> str:
    import platform

    with contextlib.suppress(OSError), open("/proc/cpuinfo", encoding="utf-8") as lines:  # noqa: PTH123
        for line in lines:
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


if __name__ == "__main__":
    main(sys.argv[1:])

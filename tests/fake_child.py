"""A child without torch: real exec, real pipes, real frames, and numbers that depend on the spec alone.

The job's name is not told to a child, so its behaviour is the hundreds of the seed: seed 300 is behaviour 3.
"""

import hashlib
import os
import signal
import struct
import sys
import threading
import time

from bfc_core.records import (
    Checkpoint,
    Column,
    Failure,
    Log,
    Metric,
    Progress,
    Result,
    Snapshot,
    Table,
    Tensor,
)
from worker import wire
from worker.child import Requests, Work, follow, receive
from worker.tether import die_with_parent

STUBBORN, KILLED_ONCE, MEMORY, RAISES, DIVERGES, HOG, SILENT, KILLED_ALWAYS, GARBAGE, DEAF = range(1, 11)


def train(spec, resume, ask):
    """One training: `steps` numbers, each from the one before; a checkpoint when it is time or when asked."""
    steps = spec["budget"]["steps"]
    every = spec["snapshots"]["checkpoint"]["every_seconds"]
    behaviour = spec["seed"] // 100
    step, total, number = 0, 0.0, digest(str(spec["seed"]).encode())
    if resume is not None:
        step, total = resume.state["step"], resume.state["total"]
        number = resume.tensors["number"].data
    kept, told, asked = time.monotonic(), 0.0, False
    while step < steps:
        time.sleep(float(os.environ.get("FAKE_STEP_SECONDS", "0.002")))
        step += 1
        number = digest(number)
        value = struct.unpack("<Q", number[:8])[0] / 2**64
        total += value
        if step % 5 == 0:
            yield Metric(step, "loss", value)
            yield Metric(step, "error", total, layer=2)
        if step % 50 == 0:
            yield Snapshot(step, "weights", {"w": Tensor("U8", (32,), number)}, {"stage": 0})
        yield from behave(behaviour, step, resume)
        now = time.monotonic()
        if now - told > 0.1:
            told = now
            yield Progress(step, steps)
        fresh = ask() and not asked
        asked = ask()
        if (fresh or now - kept > every) and behaviour != STUBBORN:
            kept = now
            yield Checkpoint(
                step, {"number": Tensor("U8", (32,), number)}, {"step": step, "total": total, "format": 1}
            )
    yield Progress(steps, steps)
    table = Table((Column("step", "integer"), Column("value", "number")), ((steps, total),))
    yield Result({"total": total, "relative_test_error": total / steps}, {"end": table})


def behave(behaviour, step, resume):
    if step != 20:
        return
    if behaviour == MEMORY:
        raise MemoryError("no room")
    if behaviour == RAISES:
        raise RuntimeError("a bug")
    if behaviour == DIVERGES:
        yield Failure("diverged", "the loss is not finite", step=step)
    elif (behaviour == KILLED_ONCE and resume is None) or behaviour == KILLED_ALWAYS:
        if behaviour == KILLED_ONCE:
            yield Log("info", "about to be killed")
        os.kill(os.getpid(), signal.SIGKILL)
    elif behaviour == HOG:
        hog = bytearray(400 << 20)
        for place in range(0, len(hog), 4096):
            hog[place] = 1
        time.sleep(30)
    elif behaviour == SILENT:
        threading.Event().wait()
    elif behaviour == GARBAGE:
        os.write(int(sys.argv[1]), b"\x00\x00")
        os._exit(0)


def digest(data):
    return hashlib.sha256(data).digest()


def pack(work: Work, requests: Requests):
    """The slots in turn, one record each: as an engine that trains a stack would yield them."""
    slots = {
        slot: train(work.job["specs"][slot], work.resume.get(slot), requests.asked)
        for slot in work.job["slots"]
    }
    while slots:
        for slot, stream in list(slots.items()):
            if slot in requests.gone:
                del slots[slot]
                continue
            record = next(stream, None)
            if record is None:
                del slots[slot]
                continue
            yield slot, record
            if isinstance(record, Failure):
                del slots[slot]


def main():
    die_with_parent(int(sys.argv[2]))
    out = wire.Outgoing(os.fdopen(int(sys.argv[1]), "wb"))
    wire.write(out.stream, wire.Frame({"t": "ready", "facts": {"program": "fake"}}))
    work = receive(sys.stdin.buffer)
    if any(spec["seed"] // 100 == DEAF for spec in work.job["specs"]):
        threading.Event().wait()
    requests = Requests(sys.stdin.buffer)
    stubborn = any(spec["seed"] // 100 == STUBBORN for spec in work.job["specs"])
    signal.signal(signal.SIGTERM, signal.SIG_IGN if stubborn else signal.SIG_DFL)
    threading.Thread(target=requests.listen, daemon=True).start()
    wire.write(out.stream, wire.Frame({"t": "end"} | follow(pack(work, requests), work, requests, out)))
    os._exit(0)


main()

import threading
import time
from pathlib import Path

from worker import wire
from worker.spool import Spool


def frame(number: int, size: int = 1000) -> wire.Frame:
    return wire.Frame({"t": "log", "number": number}, b"x" * size)


def numbers(frames: list[wire.Frame]) -> list[int]:
    return [one.head["number"] for one in frames]


def test_frames_come_back_in_order_from_memory_and_disk(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool", disk_bytes=1 << 20, memory_bytes=5000)
    for number in range(50):
        spool.put(frame(number))
    assert spool.on_disk > 30_000
    found = []
    while len(found) < 50:
        found += numbers(spool.get(0.1))
        if len(found) == 10:
            spool.put(frame(50))
    assert found[:50] == list(range(50))
    assert spool.on_disk <= 2000
    spool.close()


def test_nothing_is_left_in_the_folder_by_a_process_that_dies(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool", disk_bytes=1 << 20, memory_bytes=0)
    for number in range(5):
        spool.put(frame(number))
    assert spool.on_disk > 0
    assert list((tmp_path / "spool").iterdir()) == []
    spool.close()


def test_a_full_spool_makes_the_child_wait_and_loses_nothing(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool", disk_bytes=10_000, memory_bytes=3000)
    done = threading.Event()

    def child() -> None:
        for number in range(40):
            spool.put(frame(number))
        spool.end()
        done.set()

    threading.Thread(target=child, daemon=True).start()
    time.sleep(0.3)
    assert not done.is_set()
    found: list[int] = []
    while not spool.drained:
        found += numbers(spool.get(0.5))
    assert found == list(range(40))


def test_a_disk_that_takes_nothing_makes_the_child_wait(tmp_path: Path) -> None:
    (tmp_path / "spool").write_text("a file where the folder should be")
    spool = Spool(tmp_path / "spool", disk_bytes=1 << 20, memory_bytes=3000)

    def child() -> None:
        for number in range(20):
            spool.put(frame(number))
        spool.end()

    threading.Thread(target=child, daemon=True).start()
    found: list[int] = []
    while not spool.drained:
        found += numbers(spool.get(0.5))
    assert found == list(range(20))


def test_somebody_who_waits_is_not_kept_waiting(tmp_path: Path) -> None:
    spool = Spool(tmp_path, disk_bytes=0)
    spool.put(wire.Frame({"t": "result"}))
    start = time.monotonic()
    assert len(spool.get(60.0, gather_seconds=60.0)) == 1
    assert time.monotonic() - start < 30

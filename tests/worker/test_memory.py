from pathlib import Path

import pytest

from worker import memory

GIB = 1 << 30


@pytest.fixture
def groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty tree of control groups, and who we are in it, which the test writes."""
    monkeypatch.setattr(memory, "CGROUP", tmp_path)
    monkeypatch.setattr(memory, "OWN", tmp_path / "own")
    return tmp_path


def write(group: Path, **files: object) -> None:
    group.mkdir(parents=True, exist_ok=True)
    for name, said in files.items():
        (group / name.replace("__", ".")).write_text(f"{said}\n")


def test_a_limit_of_any_group_above_counts_and_kills_are_those_of_our_own(groups: Path) -> None:
    write(groups, own="0::/lab/worker", cgroup__controllers="memory")
    write(groups / "lab", memory__max=2 * GIB, memory__current=GIB, memory__events="oom 9\noom_kill 9")
    write(groups / "lab/worker", memory__max="max", memory__current=GIB // 2, memory__events="oom 3\noom_kill 2")
    write(groups / "lab", memory__stat=f"anon 5\ninactive_file {GIB // 4}")
    assert memory.total_bytes() == 2 * GIB
    assert memory.free_bytes() == GIB + GIB // 4
    assert memory.oom_kills() == 2


def test_groups_of_the_first_version_are_read_too(groups: Path) -> None:
    write(groups, own="8:pids:/\n4:cpu,memory:/lab\n0::/")
    write(groups / "memory/lab", memory__limit_in_bytes=GIB, memory__usage_in_bytes=GIB // 2,
          memory__stat="total_inactive_file 0", memory__oom_control="oom_kill_disable 0\noom_kill 4")  # fmt: skip
    write(groups / "memory", memory__limit_in_bytes=(1 << 63) - 4096, memory__usage_in_bytes=0)
    assert (memory.total_bytes(), memory.free_bytes(), memory.oom_kills()) == (GIB, GIB // 2, 4)


def test_a_container_that_sees_only_its_own_group_finds_it(groups: Path) -> None:
    write(groups, own="0::/system.slice/docker-abc.scope", cgroup__controllers="memory", memory__max=GIB, memory__current=0)
    assert memory.total_bytes() == GIB


def test_without_groups_the_host_is_asked(groups: Path) -> None:
    assert memory.total_bytes() > memory.free_bytes() > 0
    assert memory.oom_kills() >= 0

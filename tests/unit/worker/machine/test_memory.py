"""Counters of out-of-memory kills: of control groups of both versions, and of the machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from worker.machine import memory


@pytest.mark.parametrize(
    ("groups", "counter"),
    [
        ("0::/box/worker", "box/worker/memory.events"),
        ("0::/box/worker", "box/memory.events"),
        ("0::/", "memory.events"),
        ("4:memory:/box", "memory/box/memory.oom_control"),
        ("5:cpu,memory:/docker/4f1c", "memory/memory.oom_control"),
        ("0::/", "vmstat"),
    ],
)
def test_a_kill_is_seen_whichever_counts_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, groups: str, counter: str
) -> None:
    own = tmp_path / "cgroup"
    own.write_text(f"9:name=systemd:/\n{groups}\n")
    monkeypatch.setattr(memory, "OWN_CGROUP", own)
    monkeypatch.setattr(memory, "CGROUP_ROOT", tmp_path)
    monkeypatch.setattr(memory, "VMSTAT", tmp_path / "vmstat")
    assert memory.oom_kills() == 0
    path = tmp_path / counter
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("oom_kill_disable 0\nunder_oom 0\noom_kill 3\n")
    assert memory.oom_kills() == 3

"""Which GPUs each slot gets."""

from __future__ import annotations

import logging

import pytest

from trainyard.settings import Settings, SettingsError, read_settings
from worker import launcher
from worker.machine.gpu import Gpu


def gpus(count: int) -> list[Gpu]:
    return [Gpu(f"GPU-{number}", "H200", 141.0) for number in range(count)]


def test_a_worker_s_name_in_celery_ends_in_its_host_s_not_in_a_container_s_id(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(launcher, "host_name", lambda: "yard-worker-1")
    command = launcher.worker_command("yard-worker-1-0")
    assert command[command.index("-n") + 1] == "yard-worker-1-0@yard-worker-1"


def visible(monkeypatch: pytest.MonkeyPatch, count: int, **settings: int) -> list[str | None]:
    """CUDA_VISIBLE_DEVICES of each slot on a machine with so many GPUs."""
    monkeypatch.setattr(launcher, "list_gpus", lambda: gpus(count))
    current: Settings = read_settings(**settings)
    seen: list[str | None] = []
    monkeypatch.setattr(
        launcher,
        "ChildProcess",
        lambda name, command, env: seen.append(env.get("CUDA_VISIBLE_DEVICES")),
    )
    launcher.workers(current)
    return seen


def test_one_gpu_for_each_slot(monkeypatch: pytest.MonkeyPatch) -> None:
    assert visible(monkeypatch, 2) == ["GPU-0", "GPU-1"]


def test_neighbours_share_a_slot(monkeypatch: pytest.MonkeyPatch) -> None:
    assert visible(monkeypatch, 4, gpus_per_slot=2) == ["GPU-0,GPU-1", "GPU-2,GPU-3"]


def test_more_slots_than_groups_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    assert visible(monkeypatch, 4, gpus_per_slot=2, slots=3) == [
        "GPU-0,GPU-1",
        "GPU-2,GPU-3",
        "GPU-0,GPU-1",
    ]
    assert visible(monkeypatch, 4, gpus_per_slot=2, slots=1) == ["GPU-0,GPU-1"]


def test_slots_that_share_a_gpu_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody can tell which of them used its energy."""
    monkeypatch.setattr(launcher, "list_gpus", lambda: gpus(2))
    seen: list[str | None] = []
    monkeypatch.setattr(
        launcher,
        "ChildProcess",
        lambda name, command, env: seen.append(env.get("TRAINYARD_GPU_SHARED")),
    )
    launcher.workers(read_settings(slots=3))
    assert seen == ["1", None, "1"]
    seen.clear()
    launcher.workers(read_settings(slots=2))
    assert seen == [None, None]


def test_a_remainder_is_left_alone_and_said(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        assert visible(monkeypatch, 5, gpus_per_slot=2) == ["GPU-0,GPU-1", "GPU-2,GPU-3"]
    assert "GPUS_PER_SLOT=2 leaves 1 of 5 GPUs unused" in caplog.text


def test_too_few_gpus_for_one_slot_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SettingsError, match=r"GPUS_PER_SLOT: it is 4, and this machine has 2"):
        visible(monkeypatch, 2, gpus_per_slot=4)


def test_without_a_gpu_nothing_is_pinned(monkeypatch: pytest.MonkeyPatch) -> None:
    assert visible(monkeypatch, 0, gpus_per_slot=4) == [None]
    assert visible(monkeypatch, 0, slots=2) == [None, None]

"""Which GPUs each slot gets."""

from __future__ import annotations

import logging

import pytest

from trainyard.settings import SettingsError, read_settings
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


def visible(
    monkeypatch: pytest.MonkeyPatch,
    count: int,
    variable: str = "CUDA_VISIBLE_DEVICES",
    **settings: int,
) -> list[str | None]:
    """What each slot is told in its environment on a machine with so many GPUs."""
    seen: list[str | None] = []
    monkeypatch.setattr(launcher, "list_gpus", lambda: gpus(count))
    child = lambda name, command, env: seen.append(env.get(variable))  # noqa: E731
    monkeypatch.setattr(launcher, "ChildProcess", child)
    launcher.workers(read_settings(**settings))
    return seen


@pytest.mark.parametrize(
    ("count", "settings", "seen"),
    [
        (2, {}, ["GPU-0", "GPU-1"]),
        (4, {"gpus_per_slot": 2}, ["GPU-0,GPU-1", "GPU-2,GPU-3"]),
        (4, {"gpus_per_slot": 2, "slots": 3}, ["GPU-0,GPU-1", "GPU-2,GPU-3", "GPU-0,GPU-1"]),
        (4, {"gpus_per_slot": 2, "slots": 1}, ["GPU-0,GPU-1"]),
        (0, {"gpus_per_slot": 4}, [None]),
        (0, {"slots": 2}, [None, None]),
    ],
)
def test_which_gpus_a_slot_sees(
    monkeypatch: pytest.MonkeyPatch, count: int, settings: dict[str, int], seen: list[str | None]
) -> None:
    assert visible(monkeypatch, count, **settings) == seen


def test_slots_that_share_a_gpu_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody can tell which of them used its energy."""
    for slots, told in ((3, ["1", None, "1"]), (2, [None, None])):
        assert visible(monkeypatch, 2, "TRAINYARD_GPU_SHARED", slots=slots) == told


def test_a_remainder_is_left_alone_and_said(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        assert visible(monkeypatch, 5, gpus_per_slot=2) == ["GPU-0,GPU-1", "GPU-2,GPU-3"]
    assert "GPUS_PER_SLOT=2 leaves 1 of 5 GPUs unused" in caplog.text


def test_too_few_gpus_for_one_slot_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SettingsError, match=r"GPUS_PER_SLOT: it is 4, and this machine has 2"):
        visible(monkeypatch, 2, gpus_per_slot=4)

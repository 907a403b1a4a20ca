"""What a person asks to be sent again, as it arrives at the backend."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.delivery_scene import JOB, Clock, Scene
from trainyard.store.delivery_report import delivery_report
from trainyard.store.redelivery import NotKept, Redelivered, Redelivery


def ask(scene: Scene, folder: Path | None = None, *, from_start: bool = False) -> Redelivered:
    return Redelivery(scene.redis).ask(JOB, from_start=from_start, folder=folder)


def test_what_was_refused_is_sent_again_once(scene: Scene) -> None:
    for _ in range(3):
        scene.metric()
        scene.log(2)
    scene.turn("taken", "400", "400", "taken", "taken")
    scene.complete()
    scene.turns_until_done()
    assert len(delivery_report(scene.redis).set_aside) == 2
    assert Redelivery(scene.redis).jobs(all_known=False) == [JOB]
    assert ask(scene) == Redelivered(JOB, messages=2)
    assert delivery_report(scene.redis).waiting[0].again == 2
    scene.turns_until_done()
    keys = [key for _, key, _ in scene.backend.taken]
    assert sorted(keys) == sorted(f"{JOB}:1:{n}" for n in range(1, 9))
    assert keys[-2:] == [f"{JOB}:1:2", f"{JOB}:1:3"]
    assert delivery_report(scene.redis).set_aside == []
    assert ask(scene) == Redelivered(JOB)


def test_what_is_sent_again_waits_as_all_does(scene: Scene) -> None:
    scene.log(2)
    scene.turn("taken", "400")
    ask(scene)
    scene.turn("500")
    scene.log(1)
    scene.turns_until_done()
    assert scene.line_numbers() == [0, 1, 2]
    scene.backend.check_once()


def test_a_status_behind_the_end_is_refused_again(scene: Scene) -> None:
    """`running` after `completed` would be written over it."""
    scene.turn("400")
    scene.complete()
    scene.turns_until_done()
    ask(scene)
    scene.turns_until_done()
    assert scene.backend.of("status") == ["completed"]
    (record,) = delivery_report(scene.redis).set_aside
    assert record.reason == "a status after the attempt's terminal one"


def test_a_job_that_is_parked_is_tried_at_once(scene: Scene) -> None:
    scene.backend.lanes = {"status": "404"}
    scene.turns_until_done(most_s=100)
    tried = len(scene.backend.tried)
    scene.backend.lanes = {}
    ask(scene)
    scene.turn()
    assert len(scene.backend.tried) == tried + 1
    scene.check_all_arrived()


def test_an_ask_that_comes_while_a_sender_holds_the_job_is_not_lost(scene: Scene) -> None:
    scene.backend.then = {f"{JOB}:1:1": lambda: ask(scene, from_start=True)}
    scene.metric()
    scene.turns_until_done()
    assert [key for _, key, _ in scene.backend.taken] == [f"{JOB}:1:1", f"{JOB}:1:2"] * 2


@pytest.mark.parametrize("folder_there", [True, False])
def test_from_the_start_all_is_sent_that_stream_and_folder_hold(
    clock: Clock, tmp_path: Path, folder_there: bool
) -> None:
    scene = Scene(clock, lines_kept=200)
    for _ in range(10):
        scene.log(50)
        scene.metric()
    scene.complete()
    scene.turns_until_done()
    written = [line for lines in scene.backend.of("logs") for line in lines][1:]
    stamp = written[0].partition("]")[0]
    older = [f"{stamp}] line {n}" for n in range(350)]
    (tmp_path / "train.log").write_text("".join(f"{line}\n" for line in [*older, *written]))
    scene.backend.taken.clear()
    asked = ask(scene, tmp_path if folder_there else None, from_start=True)
    assert asked.older_lines == (350 if folder_there else 0)
    scene.turns_until_done()
    scene.check_all_arrived()
    lines = [line for lines in scene.backend.of("logs") for line in lines]
    assert ("… 350 log lines" in lines[0]) is not folder_there
    if folder_there:
        assert [line.partition("] ")[2] for line in lines] == [f"line {n}" for n in range(500)]


def test_a_job_without_a_token_cannot_be_sent(scene: Scene) -> None:
    scene.redis.delete(f"trainyard:token:{JOB}")
    with pytest.raises(NotKept, match="its token is not in the store"):
        ask(scene)

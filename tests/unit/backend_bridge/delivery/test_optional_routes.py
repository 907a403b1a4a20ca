"""Routes that a backend may lack: many points, predictions, the job's row."""

from __future__ import annotations

from collections import deque
from typing import Any

import pytest

from tests.support.delivery_scene import JOB, Clock, Scene
from trainyard.contract.backend_routes import ROUTES
from trainyard.contract.events import Prediction
from trainyard.store.attempt_writes import StoredEvent
from trainyard.store.delivery_report import delivery_report
from trainyard.store.redelivery import Redelivery


def many(scene: Scene, count: int) -> None:
    scene.turn()
    for _ in range(count):
        scene.metric()


def test_a_backlog_of_points_goes_out_together_and_the_newest_by_itself(scene: Scene) -> None:
    many(scene, 40)
    scene.turn("taken", "lost")
    scene.metric()
    scene.turns_until_done()
    assert scene.backend.of("points") == [list(range(2, 40))], "a retry has what its first try had"
    assert scene.backend.of("metrics") == [1, 40, 41]
    assert scene.lane("metric").done == 41


def test_few_points_are_no_backlog(scene: Scene) -> None:
    many(scene, 8)
    scene.turns_until_done()
    assert (scene.backend.points, scene.backend.steps()) == (0, list(range(1, 9)))


@pytest.mark.parametrize("answer", ["404", "405", "401"])
def test_a_backend_without_the_route_for_many_points_is_asked_once(
    scene: Scene, answer: str
) -> None:
    many(scene, 150)
    scene.backend.lanes = {"points": answer}
    scene.turns_until_done()
    assert scene.backend.points == 1
    scene.complete()
    scene.turns_until_done()
    scene.check_all_arrived()
    assert list(delivery_report(scene.redis).missing_routes) == [ROUTES["points"]]


def test_an_outage_of_404s_does_not_take_the_route_for_many_points_away(scene: Scene) -> None:
    many(scene, 60)
    scene.backend.lanes = {"points": "404", "metrics": "404"}
    scene.turns_until_done(most_s=95)
    scene.backend.lanes = {}
    scene.turns_until_done()
    assert scene.backend.steps() == list(range(1, 61))
    assert scene.backend.of("metrics") == [1, 60], "one that was tried alone, and the newest"
    assert delivery_report(scene.redis).missing_routes == {}


@pytest.mark.parametrize("answer", ["400", "500"])
def test_points_that_are_not_taken_together_are_taken_singly(scene: Scene, answer: str) -> None:
    many(scene, 60)
    scene.backend.lanes = {"points": answer}
    scene.turns_until_done(most_s=60)
    assert scene.backend.of("metrics") == list(range(1, 61))
    assert scene.redis.llen("trainyard:set-aside") == 0


@pytest.mark.parametrize("fate", ["lost", "killed", "frozen"])
@pytest.mark.parametrize("then", ["404", "500", "405"])
def test_points_that_may_have_arrived_go_in_no_other_request(
    scene: Scene, fate: str, then: str
) -> None:
    many(scene, 30)
    scene.turn("taken", fate)
    scene.backend.lanes = {"points": then, "metrics": then}
    scene.turns_until_done(most_s=100)
    scene.backend.lanes = {}
    scene.complete()
    scene.turns_until_done()
    if then != "405":  # which says that nothing can have arrived there
        scene.check_all_arrived()


@pytest.mark.parametrize("then", ["404", "401"])
@pytest.mark.parametrize("for_good", [False, True], ids=["for a while", "for good"])
def test_points_that_may_have_arrived_stay_together_while_only_they_are_refused(
    clock: Clock, then: str, for_good: bool
) -> None:
    """Until a backend that has forgotten the route would never hear of them."""
    scene = Scene(clock, random=lambda: 0.9)  # after a pause of no length they are tried at once
    many(scene, 30)
    scene.turn("taken", "lost")
    scene.backend.lanes = {"points": then}
    for _ in range(3):
        scene.log()
        scene.turns_until_done(most_s=3)
    assert scene.backend.of("metrics") == [1]
    if not for_good:
        scene.backend.lanes = {}
    scene.turns_until_done(most_s=900)
    assert scene.backend.steps() == list(range(1, 31))
    if for_good:
        assert scene.backend.of("metrics") == list(range(1, 31))
    else:
        scene.check_all_arrived()


@pytest.mark.parametrize("fault", ["away", "lost"])
@pytest.mark.parametrize("scripts", range(2, 7))
def test_a_redis_that_is_away_for_a_moment_does_not_make_points_unsure(
    scene: Scene, fault: str, scripts: int
) -> None:
    """For good, if the route for many never answers: it is known that none of them arrived."""
    many(scene, 30)
    scene.backend.lanes = {"points": "500"}
    scene.senders_redis.faults = deque(["ok"] * scripts + [fault])
    scene.turn()
    scene.complete()
    scene.turns_until_done()
    scene.check_all_arrived()


def predicted(scene: Scene, step: int) -> None:
    said = Prediction(step=step, epoch=1.5, prompt="2+2?", prediction="4", ground_truth="4")
    scene.job.append([StoredEvent("prediction", said.model_dump_json())])


def test_predictions_are_told_as_the_backend_spells_them(scene: Scene) -> None:
    predicted(scene, 3)
    scene.turns_until_done()
    (told,) = scene.backend.of("predictions")
    assert told == {
        **{"job_id": JOB, "step": 3, "epoch": 1, "sample_index": 0, "do_sample": False},
        **{"prompt": "2+2?", "prediction": "4", "ground_truth": "4", "exact_match": True},
        **{"length_ratio": 1.0, "word_overlap": 1.0},
    }


@pytest.mark.parametrize("answer", ["404", "405"])
def test_a_backend_without_predictions_is_asked_once_and_again_after_an_hour(
    scene: Scene, answer: str
) -> None:
    scene.backend.lanes = {"predictions": answer}
    for step in range(1, 4):
        scene.metric()
        predicted(scene, step)
    scene.complete()
    scene.turns_until_done(most_s=60)
    assert scene.due_in_s() is None, "nothing waits"
    assert scene.backend.of("status") == ["running", "completed"]
    assert len(scene.backend.tried) <= 7
    assert list(delivery_report(scene.redis).missing_routes) == [ROUTES["predictions"]]
    assert Redelivery(scene.redis).ask(JOB, from_start=True)
    scene.backend.lanes = {}
    scene.turns_until_done()
    assert [told["step"] for told in scene.backend.of("predictions")] == [1, 2, 3]
    assert delivery_report(scene.redis).missing_routes == {}


def test_predictions_that_always_fail_keep_back_nothing(scene: Scene) -> None:
    scene.backend.lanes = {"predictions": "500"}
    predicted(scene, 1)
    scene.metric()
    scene.complete()
    scene.turns_until_done(most_s=1)
    assert [body for _, _, body in scene.backend.taken] == ["running", 1, "completed"]


def of_ana(clock: Clock, **policy: Any) -> Scene:
    scene = Scene(clock, **policy)
    scene.redis.hset(f"trainyard:job:{JOB}", "user_id", "ana")
    return scene


def test_the_row_is_told_after_each_status_and_seldom_in_between(clock: Clock) -> None:
    scene = of_ana(clock)
    scene.turns_until_done()
    scene.redis.hset(f"trainyard:job:{JOB}", "progress", '{"step": 1, "total_steps": 4}')
    for _ in range(5):
        scene.metric()
        scene.turn()
        clock.pass_(1)
    assert [row["status"] for row in scene.backend.of("row")] == ["running"]
    scene.turns_until_done(most_s=12)
    assert scene.backend.of("row")[-1]["progress"] == 25
    scene.job.fail("No memory.")
    scene.turns_until_done()
    _, seldom, last = scene.backend.of("row")
    assert (seldom["job_id"], seldom["user_id"], seldom["total_steps"]) == (JOB, "ana", 4)
    assert (last["status"], last["error_message"]) == ("failed", "No memory.")
    assert last["started_at"] <= last["completed_at"]
    assert scene.due_in_s() is None


def test_statuses_that_follow_closely_share_a_row(clock: Clock) -> None:
    scene = of_ana(clock)
    scene.turns_until_done()
    scene.pause_and_resume()
    scene.turns_until_done(most_s=0.5)
    assert scene.backend.of("status") == ["running", "paused", "running"]
    assert [row["status"] for row in scene.backend.of("row")] == ["running"]
    scene.turns_until_done(most_s=2)
    assert [row["status"] for row in scene.backend.of("row")] == ["running", "running"]


@pytest.mark.parametrize("answer", ["404", "405", "401", "400"])
def test_a_backend_without_a_row_is_asked_no_more(clock: Clock, answer: str) -> None:
    scene = of_ana(clock, random=lambda: 0.9)  # a pause of no length would be a try of no use
    scene.backend.lanes = {"row": answer}
    scene.log()
    scene.turn()
    scene.metric()
    scene.complete()
    scene.turns_until_done()
    assert scene.backend.of("status") == ["running", "completed"]
    tried = [key for key in scene.backend.tried if "row" in key]
    assert 1 <= len(tried) <= 2
    assert list(delivery_report(scene.redis).missing_routes) == [ROUTES["row"]]
    assert scene.redis.llen("trainyard:set-aside") == 0


def test_a_row_is_told_when_the_outage_is_over(clock: Clock) -> None:
    scene = of_ana(clock)
    scene.complete()
    scene.backend.lanes = {"row": "500"}
    scene.turns_until_done(most_s=100)
    scene.backend.lanes = {}
    scene.turns_until_done()
    assert [row["status"] for row in scene.backend.of("row")] == ["completed"]

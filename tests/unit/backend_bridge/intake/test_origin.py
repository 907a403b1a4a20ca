"""A job that goes on from another: admitted if that has something, and for its host only."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest

from backend_bridge.intake.admission import Admission
from tests.support.requests import request_body
from tests.support.store_calls import stored
from trainyard.contract.errors import ErrorKind, ErrorReport
from trainyard.contract.request import RequestInvalid
from trainyard.home import home_id
from trainyard.settings import read_settings
from trainyard.store.job_files import JobFiles
from trainyard.store.job_store import JobStore

LORA = {"use_lora": True}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TRAINYARD_HOME", str(tmp_path))
    return tmp_path


class Yard:
    """An admission that notes what it sends, and a job ``sft`` that runs on the host ``first``."""

    def __init__(self, store: JobStore, home: Path, **training: Any) -> None:
        self.store, self.sent, self.home = store, list[str](), home
        self.admission = Admission(
            store,
            cast(Any, self),
            slots=lambda: 1,
            max_queued=None,
            files=JobFiles(read_settings()),
            send=self.sent.append,
        )
        self.admission.admit(request_body("sft", training=training))
        store.claim("sft", 1, slot="first-0", worker="w", home=home_id(home))

    def enqueue(self, attempt_id: str, **_: Any) -> None:
        """Stands in for the broker."""

    def complete(self) -> None:
        (self.home / "jobs" / "sft" / "model").mkdir(parents=True)
        self.store.complete("sft", 1, {"model_dir": "model"})

    def admit(self, name: str = "job:sft", **sections: Any) -> None:
        self.admission.admit(request_body("dpo", model={"name": name}, **sections))

    def refusal(self, name: str = "job:sft", **sections: Any) -> str:
        with pytest.raises(RequestInvalid) as refused:
            self.admit(name, **sections)
        assert self.store.get("dpo") is None
        return str(refused.value)


def test_one_that_is_removed_while_it_is_looked_at_is_refused(
    store: JobStore, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    yard, request = Yard(store, home), store.request

    def gone(job_id: str) -> Any:
        store.redis.delete(f"trainyard:request:{job_id}")
        return request(job_id)

    monkeypatch.setattr(store, "request", gone)
    assert "config.model.name: there is no job sft" in yard.refusal()


def test_it_is_bound_to_the_host_of_what_it_goes_on_from(store: JobStore, home: Path) -> None:
    yard = Yard(store, home)
    yard.complete()
    yard.admit()
    job = stored(store, "dpo")
    assert (job.origin, job.home, job.home_host) == ("sft", home_id(home), "first")
    assert yard.sent == ["dpo"]
    assert not store.claim("dpo", 1, slot="second-0", worker="w", home="another")
    assert store.claim("dpo", 1, slot="first-0", worker="w", home=home_id(home))
    yard.admit()  # the same request again
    store.start_afresh("dpo")
    again = store.get("dpo")
    assert again is not None and again.is_bound


def test_there_must_be_something_to_go_on_from(store: JobStore, home: Path) -> None:
    yard = Yard(store, home)
    (home / "jobs" / "sft").mkdir(parents=True)
    assert "there is no job other" in yard.refusal("job:other")
    assert "has no checkpoint-4" in yard.refusal("job:sft@checkpoint-4")
    store.complete("sft", 1, {"model_dir": "model"})
    assert "is not there any more" in yard.refusal()


def test_of_one_that_failed_only_a_checkpoint_is_left(store: JobStore, home: Path) -> None:
    yard = Yard(store, home)
    store.fail("sft", 1, ErrorReport(kind=ErrorKind.DATASET, message="No rows."))
    assert "job sft is failed and has no result; job:sft@checkpoint-N" in yard.refusal()


def test_one_that_runs_is_awaited_and_gone_on_from_where_it_ended(
    store: JobStore, home: Path
) -> None:
    yard = Yard(store, home)
    yard.admit()
    job = stored(store, "dpo")
    assert (job.origin, list(job.awaits), job.held) == ("sft", ["sft"], "1")
    assert store.release() == ([], [])
    store.redis.hset("trainyard:job:sft", "home_host", "second")  # it went on there
    yard.complete()
    assert store.release() == (["dpo"], [])
    job = stored(store, "dpo")
    assert (job.held, list(job.awaits), job.home_host) == ("", [], "second")


def test_what_becomes_of_an_adapter_is_to_be_said(store: JobStore, home: Path) -> None:
    yard = Yard(store, home, **LORA)
    yard.complete()
    said = yard.refusal(training=LORA)
    assert said.startswith("config.lora.adapter: the model of job sft is an adapter: 'continue'")
    yard.admit(training=LORA, lora="continue")


def test_a_whole_model_has_no_adapter_to_train_on(store: JobStore, home: Path) -> None:
    yard = Yard(store, home)
    yard.complete()
    assert "is whole, and no adapter" in yard.refusal(training=LORA, lora="continue")
    yard.admit(training=LORA, lora="new")

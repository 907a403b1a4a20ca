"""Sweeps on the command line: the flag, the folded list, the table, waiting for one."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest
from click.testing import CliRunner
from rich.console import Console

from tests.support.fake_bridge import FakeBridge
from trainyard.cli import main
from trainyard.cli.queueing.groups import folded, sweep_table
from trainyard.cli.queueing.sweep_flags import with_sweep
from trainyard.cli.request_file import RequestFileError


@pytest.mark.parametrize(
    ("written", "values"),
    [
        ("training.learning_rate=1e-4,2e-4", [1e-4, 2e-4]),
        ("lora.r=8,16", [8, 16]),
        ("training.packing=true,false", [True, False]),
        ("training.method=sft,dpo", ["sft", "dpo"]),
        ("lora.target_modules=[q_proj],[q_proj,v_proj]", [["q_proj"], ["q_proj", "v_proj"]]),
        ("model.name='a,b',c", ["a,b", "c"]),
    ],
)
def test_a_flag(written: str, values: list[Any]) -> None:
    body = with_sweep({"sweep": {"seed": [1]}}, [written])
    assert body["sweep"] == {"seed": [1], written.partition("=")[0]: values}
    assert body["execution_id"].startswith("sweep-")


@pytest.mark.parametrize("written", ["lora.r", "lora.r=", "=8", "lora.r=[8", "lora.r=8]"])
def test_no_flag(written: str) -> None:
    with pytest.raises(RequestFileError, match="write path=value,value"):
        with_sweep({}, [written])


def job(job_id: str, status: str, group: str | None = None, **more: Any) -> dict[str, Any]:
    known: dict[str, Any] = dict.fromkeys(("best_eval_loss", "error", "slot", "loss"))
    known |= {"job_id": job_id, "status": status, "group": group, "settings": {}}
    known |= {"progress": 50, "elapsed_seconds": 2.0}
    return {**known, "created_at": "2026-01-31T12:00:00Z", **more}


def test_a_sweep_is_one_line_of_the_list() -> None:
    jobs = [
        job("new", "queued"),
        job("g-3", "queued", "g"),
        job("between", "completed"),
        job("g-2", "running", "g", best_eval_loss=2.0, slot="box-0"),
        job("g-1", "failed", "g", best_eval_loss=1.5),
    ]
    new, sweep, between = folded(jobs)
    assert (new["job_id"], between["job_id"]) == ("new", "between")
    assert (sweep["job_id"], sweep["status"], sweep["eval_loss"]) == ("g", "running", 1.5)
    assert sweep["name"] == "sweep, 3 jobs: 1 queued, 1 running, 1 failed"
    assert (sweep["slot"], sweep["elapsed_seconds"]) == ("box-0", 6.0)


def test_the_table_marks_the_best() -> None:
    answer = {
        "settings": ["lora.r"],
        "measure": "best_eval_loss",
        "best": "g-2",
        "jobs": [
            job("g-1", "failed", "g", settings={"lora.r": 8}, error="No rows."),
            job("g-2", "completed", "g", settings={"lora.r": 16}, best_eval_loss=1.25),
        ],
    }
    console = Console(width=100)
    with console.capture() as text:
        console.print(sweep_table(answer))
    head, first, second = text.get().splitlines()
    assert head.split() == ["job", "lora.r", "best", "eval", "status"]
    assert first.split() == ["g-1", "8", "–", "failed", "(No", "rows.)"]
    assert second.split() == ["g-2", "16", "1.25", "best", "completed"]


@pytest.mark.parametrize(("last", "code"), [("completed", 0), ("failed", 1)])
def test_a_sweep_is_waited_for(monkeypatch: pytest.MonkeyPatch, last: str, code: int) -> None:
    def answer(*statuses: str) -> dict[str, Any]:
        jobs = [job(f"g-{n}", status, "g") for n, status in enumerate(statuses, 1)]
        table = {"settings": [], "measure": "best_eval_loss", "best": None, "jobs": jobs}
        return {**table, "counts": dict(Counter(statuses))}

    monkeypatch.setattr("trainyard.cli.watching.FOLLOW_EVERY_S", 0.0)
    ended = answer("completed", last)
    news = [answer("running", "queued")] * 4 + [answer("completed", "running"), ended]
    with FakeBridge() as bridge:
        monkeypatch.setenv("BRIDGE_PORT", str(bridge.port))
        bridge.answers["GET", "/api/training/groups/g"] = lambda _: (200, news.pop(0))
        done = CliRunner().invoke(main.main, ["wait", "g"])
        assert done.exit_code == code
        told = ["g: 1 queued, 1 running", "g: 1 running, 1 completed"]
        lines = done.stdout.splitlines()
        assert [line for line in lines if line in told] == told
        assert lines[-1].split() == ["g-2", "–", last]

        bridge.answers["GET", "/api/training/groups/g"] = 200, ended
        done = CliRunner().invoke(main.main, ["wait", "g", "--json"])
        assert (done.exit_code, json.loads(done.stdout)) == (code, ended)

        bridge.answers["GET", "/api/training/groups/g"] = 404, {"error": "no such sweep"}
        done = CliRunner().invoke(main.main, ["wait", "g"])
        assert done.exit_code == 1


def test_the_page_of_a_sweep_is_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    monkeypatch.delenv("BACKEND_URL", raising=False)
    with FakeBridge() as bridge:
        monkeypatch.setenv("BRIDGE_PORT", str(bridge.port))
        bridge.answers["GET", "/api/training/groups/g"] = 200, {"jobs": []}
        for name in ("g", "j"):
            assert CliRunner().invoke(main.main, ["open", name]).exit_code == 0
    assert [url.split("/", 3)[3] for url in opened] == ["sweeps/g", "jobs/j"]

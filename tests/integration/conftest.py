"""Fixtures of the bridge on a real Redis, and of trainings."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from backend_bridge.server import make_app
from tests.support.bridge import LINES, Running
from tests.support.celery_app import bridge_celery
from tests.support.models import make_tiny_model
from tests.support.redis_server import RedisServer
from tests.support.store_calls import job_store
from tests.support.training import Preloaded
from trainyard.contract.events import Metric
from trainyard.settings import read_settings, settings
from trainyard.store.attempt_writes import StoredEvent


@pytest.fixture
def make_bridge(
    redis_server: RedisServer, real_redis: Any, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Any]:
    clients: list[TestClient] = []

    def make(**environment: str) -> Running:
        for name, value in {"REDIS_URL": redis_server.url, **environment}.items():
            monkeypatch.setenv(name, value)
        settings.cache_clear()
        app = make_app(read_settings())
        client = TestClient(app, base_url="http://127.0.0.1:8000", raise_server_exceptions=False)
        clients.append(client)
        return Running(client, job_store(real_redis))

    with bridge_celery(redis_server.url):
        yield make
        for client in clients:
            client.app.state.bridge.store.redis.close()  # type: ignore[attr-defined]
            client.close()


@pytest.fixture
def bridge(make_bridge: Any) -> Running:
    found: Running = make_bridge()
    return found


@pytest.fixture
def busy(bridge: Running) -> Running:
    """job-1 runs, with five log lines and two points."""
    bridge.start()
    assert bridge.store.claim("job-1", 1, slot="s", worker="w")
    events = [
        StoredEvent("log", json.dumps(LINES), 5),
        StoredEvent("metric", Metric(step=1, epoch=0.4, train_loss=2.5).model_dump_json()),
        StoredEvent("metric", Metric(step=2, epoch=1.2, eval_loss=2.0).model_dump_json()),
    ]
    progress = {"step": 2, "total_steps": 8, "epoch": 1.2, "total_epochs": 3}
    fields = {"progress": json.dumps(progress), "point": '{"train_loss": 2.5, "eval_loss": 2.0}'}
    assert bridge.store.append("job-1", 1, 1, events, fields)
    return bridge


@pytest.fixture(scope="session")
def preloaded_process() -> Iterator[Preloaded]:
    """One for the whole run: its imports are most of what a short training costs."""
    with Preloaded() as process:
        yield process


@pytest.fixture(scope="module")
def preloaded(preloaded_process: Preloaded) -> Iterator[Preloaded]:
    """A process to fork trainings from, torch with one thread."""
    yield preloaded_process
    preloaded_process.end()
    preloaded_process.reset()


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``tiny``, and ``dropout``: the same with attention dropout. Nobody writes to them."""
    root = tmp_path_factory.mktemp("models")
    make_tiny_model(root / "tiny")
    shutil.copytree(root / "tiny", root / "dropout")
    path = root / "dropout" / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "attention_dropout": 0.2}))
    return root

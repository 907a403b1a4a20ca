"""Data sets of the Hugging Face hub, from a server that answers as the hub does."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tasks.datasets.parts import open_parts, open_source
from tasks.datasets.sources.folder import Choice
from tasks.datasets.sources.locate import DownloadLimits as DataLimits
from tasks.datasets.sources.locate import locate_dataset
from tasks.datasets.sources.remote import failures
from tasks.datasets.sources.remote.fetch import fetch
from tasks.datasets.sources.remote.http import TransferLimits
from tasks.datasets.sources.remote.hub import HubReference, reference_of
from tasks.errors import DatasetError
from tests.support.file_server import FileServer, Handler

LIMITS = TransferLimits(max_bytes=100_000, allow_private=True, read_timeout_s=2)
COMMIT = "0123456789abcdef0123456789abcdef01234567"
TRAIN, TEST = b'{"text": "train"}\n' * 3, b'{"text": "test"}\n'


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[FileServer]:
    with FileServer() as server:
        for name in ("HF_TOKEN", "HF_HUB_OFFLINE", "HUGGING_FACE_HUB_TOKEN"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setattr(failures, "SECONDS_BETWEEN_TRIES", 0)
        monkeypatch.setenv("HF_ENDPOINT", server.url(""))
        yield server


def publish(
    hub: FileServer, files: dict[str, bytes], *, card: dict[str, Any] | None = None
) -> None:
    """Serve a data set ``owner/set`` of these files, at one commit."""
    siblings = [
        {
            "rfilename": name,
            "size": len(content),
            "lfs": {
                "sha256": hashlib.sha256(content).hexdigest(),
                "size": len(content),
                "pointerSize": 100,
            },
        }
        for name, content in files.items()
    ]
    info = {"id": "owner/set", "sha": COMMIT, "siblings": siblings, "cardData": card or {}}
    body = json.dumps(info).encode()

    def answer(to: Handler) -> None:
        to.answer(200, body, Content_Type="application/json")

    hub.answers["/api/datasets/owner/set"] = answer
    hub.answers["/api/datasets/owner/set/revision/v1"] = answer
    for name, content in files.items():
        hub.files[f"/datasets/owner/set/resolve/{COMMIT}/{name}"] = content


def test_a_reference_names_a_data_set_a_revision_and_a_path() -> None:
    assert reference_of("owner/set") == HubReference("owner/set", None, "")
    assert reference_of("hf://datasets/owner/set@v1/data/a.csv") == HubReference(
        "owner/set", "v1", "data/a.csv"
    )
    assert reference_of("hf://owner/set/dir") == HubReference("owner/set", None, "dir")
    assert reference_of("hf://datasets/squad") == HubReference("squad", None, "")
    assert reference_of("nothing") is None


@pytest.mark.parametrize("reference", ["owner/set", "hf://datasets/owner/set@v1"])
def test_the_splits_of_a_data_set_are_fetched(
    hub: FileServer, tmp_path: Path, reference: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    files = {"data/train.jsonl": TRAIN, "data/test.jsonl": TEST, "README.md": b"#", "load.py": b"1"}
    publish(hub, files)
    found = fetch(reference, tmp_path, LIMITS)
    assert [len(part) for part in open_parts(found.path, tmp_path)] == [3, 1]
    assert not [path for path, _ in hub.requests if path.endswith((".py", ".md"))]
    assert hub.requests[-1][1]["Authorization"] == "Bearer hf_secret"


def test_one_file_of_a_data_set_can_be_named(hub: FileServer, tmp_path: Path) -> None:
    publish(hub, {"train.jsonl": TRAIN, "other.jsonl": TEST})
    found = fetch("hf://datasets/owner/set/train.jsonl", tmp_path, LIMITS)
    assert (found.name, found.path.read_bytes()) == ("train.jsonl", TRAIN)


CONFIGS = [{"config_name": name, "data_files": f"{name}/*"} for name in ("main", "socratic")]
SUBSETS = {
    **{
        f"{name}/{split}.jsonl": TEST for name in ("main", "socratic") for split in ("train", "dev")
    },
    "README.md": ("---\n" + json.dumps({"configs": CONFIGS}) + "\n---\n").encode(),
}


@pytest.mark.parametrize(
    ("reference", "subset"),
    [("hf://datasets/owner/set?name=socratic", None), ("hf://owner/set@v1", "socratic")],
)
def test_a_subset_is_chosen_and_nothing_else_is_fetched(
    hub: FileServer, tmp_path: Path, reference: str, subset: str | None
) -> None:
    publish(hub, SUBSETS, card={"configs": CONFIGS})
    found = locate_dataset(reference, None, [], tmp_path, DataLimits(10**6, True), subset)
    parts = open_source(found.path, tmp_path, choice=Choice(found.subset)).parts
    assert [part.files[0][0] for part in parts] == ["socratic/train.jsonl", "socratic/dev.jsonl"]
    assert not [path for path, _ in hub.requests if "/main/" in path]


@pytest.mark.parametrize("files", [["a/train.jsonl"], ["a/train.jsonl", "a/dev.jsonl"]])
def test_a_folder_of_the_hub_is_a_subset(hub: FileServer, tmp_path: Path, files: list[str]) -> None:
    publish(hub, {**dict.fromkeys(files, TRAIN), "b/train.jsonl": TRAIN})
    found = locate_dataset("hf://owner/set", None, [], tmp_path, DataLimits(10**6, True), "a")
    source = open_source(found.path, tmp_path, choice=Choice(found.subset))
    assert [part.files[0][0] for part in source.parts] == files
    with pytest.raises(DatasetError, match="no subset 'c'; it has a, b"):
        locate_dataset("hf://owner/set", None, [], tmp_path, DataLimits(10**6, True), "c")


def test_what_the_hub_sends_is_held_to_its_hash(hub: FileServer, tmp_path: Path) -> None:
    publish(hub, {"train.jsonl": TRAIN})
    hub.files[f"/datasets/owner/set/resolve/{COMMIT}/train.jsonl"] = TEST
    with pytest.raises(DatasetError, match="its sha256"):
        fetch("owner/set", tmp_path, LIMITS)


@pytest.mark.parametrize(
    ("files", "card", "said"),
    [
        ({"load.py": b"print(1)"}, {}, "only a loading script, which is never run"),
        ({"a.bin": b"x"}, {}, "no file of data"),
        (
            {"a/train.jsonl": TRAIN, "b/train.jsonl": TRAIN},
            {"configs": [{"config_name": "a"}, {"config_name": "b"}]},
            "several subsets, and no default: a, b",
        ),
        ({"a.jsonl": b"x" * 60_000, "b.jsonl": b"x" * 60_000}, {}, r"at most 0\.0001 GB"),
    ],
)
def test_what_cannot_be_used_is_told(
    hub: FileServer, tmp_path: Path, files: dict[str, bytes], card: dict[str, Any], said: str
) -> None:
    publish(hub, files, card=card)
    with pytest.raises(DatasetError, match=said) as caught:
        fetch("owner/set", tmp_path, LIMITS)
    assert caught.value.mend


@pytest.mark.parametrize(
    ("status", "said"),
    [(404, "has no data set owner/set"), (401, "does not show it"), (403, "is gated")],
)
@pytest.mark.parametrize("refusing", ["/api/datasets/owner/set", "file"])
def test_each_refusal_of_the_hub_has_its_error(
    hub: FileServer, tmp_path: Path, status: int, said: str, refusing: str
) -> None:
    publish(hub, {"train.jsonl": TRAIN})
    path = next(iter(hub.files)) if refusing == "file" else refusing
    hub.answers[path] = lambda to: to.answer(status)
    with pytest.raises(DatasetError, match=said):
        fetch("owner/set", tmp_path, LIMITS)


def test_a_hub_that_is_away_is_one_sentence(
    hub: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.answers["/api/datasets/owner/set"] = lambda to: to.answer(200, b"<p>busy</p>")
    with pytest.raises(DatasetError, match="is no JSON"):
        fetch("owner/set", tmp_path, LIMITS)
    monkeypatch.setenv("HF_ENDPOINT", "http://nowhere.invalid")
    with pytest.raises(DatasetError, match=r"host of http://nowhere\.invalid/.* is not known"):
        fetch("owner/set", tmp_path, LIMITS)


def test_offline_is_said_beside_what_was_looked_for_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(DatasetError, match=r"No such data set: 'owner/set'.*HF_HUB_OFFLINE"):
        locate_dataset("owner/set", None, [str(tmp_path)], tmp_path)
    with pytest.raises(DatasetError, match=r"No such data set: 'sub/a\.jsonl' \(looked in"):
        locate_dataset("sub/a.jsonl", None, [str(tmp_path)], tmp_path, DataLimits())

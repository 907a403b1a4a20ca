"""Data sets of the Hugging Face hub, by ``hf://datasets/owner/name[@revision][/path]`` or a name.

Files alone are fetched, by HTTP; a loading script of the data set is never run.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import quote

from huggingface_hub import constants, get_token, hf_hub_url

from tasks.datasets.sources import card
from tasks.datasets.sources.names import is_data_file
from tasks.datasets.sources.remote.failures import ServerRefused, Unreachable
from tasks.datasets.sources.remote.http import TransferLimits, get_json
from tasks.errors import DatasetError

_REFERENCE = re.compile(
    r"(?:hf://(?:datasets/)?)?(?P<repo>(?!\.)[\w.-]+/(?!\.)[\w.-]+|(?!\.)[\w.-]+)(?:@(?P<revision>[^/\s]+))?"
    r"(?:/(?P<path>[^\0]*))?"
)
_SCRIPT_HINT = "Use a data set whose files are Parquet, JSON lines or CSV."


@dataclass(frozen=True)
class HubFile:
    """One file of a data set: where it is, its SHA-256 where the hub knows it, its size (bytes)."""

    path: str
    url: str
    sha256: str | None
    size: int


@dataclass(frozen=True)
class HubReference:
    """A data set at the hub, and what of it is meant (all where ``path`` is empty)."""

    repo: str
    revision: str | None
    path: str

    def __str__(self) -> str:
        return self.repo + (f"@{self.revision}" if self.revision else "")


def reference_of(text: str) -> HubReference | None:
    """The reference that ``text`` writes, by URL or by ``owner/name``; None where it is none."""
    found = _REFERENCE.fullmatch(text)
    if found is None or (not text.startswith("hf://") and "/" not in found["repo"]):
        return None
    path = (found["path"] or "").strip("/")
    return None if ".." in path.split("/") else HubReference(found["repo"], found["revision"], path)


def auth_headers() -> dict[str, str]:
    """What the hub takes for a login: the token of ``HF_TOKEN``, where there is one."""
    token = get_token()
    return {"Authorization": f"Bearer {token}"} if token else {}


def list_files(
    wanted: HubReference, limits: TransferLimits, subset: str | None = None
) -> list[HubFile]:
    """The files of data, pinned to one commit; of several subsets those of ``subset``.

    With them comes the card, if it says which files count. Raises DatasetError.
    """
    info = _info(wanted, limits)
    below = [
        entry
        for entry in info["siblings"]
        if not wanted.path or f"{entry['rfilename']}/".startswith(f"{wanted.path}/")
    ]
    names = [
        entry["rfilename"]
        for entry in below
        if entry["rfilename"] == wanted.path or is_data_file(PurePosixPath(entry["rfilename"]))
    ]
    if not wanted.path:
        names = _of_the_subset(info, names, subset, str(wanted))
    files = [_file_of(e, wanted, info["sha"]) for e in below if e["rfilename"] in set(names)]
    if not files:
        scripted = any(entry["rfilename"].endswith(".py") for entry in below)
        why = "only a loading script, which is never run" if scripted else "no file of data"
        where = f" below {wanted.path!r}" if wanted.path else ""
        raise DatasetError(f"The data set {wanted} has {why}{where}.", _SCRIPT_HINT)
    return files


def _of_the_subset(
    info: dict[str, Any], names: list[str], subset: str | None, source: str
) -> list[str]:
    subsets = card.subsets_of(info.get("cardData"))
    every = [entry["rfilename"] for entry in info["siblings"]]
    found = card.chosen_subset(subsets, subset, source)
    if found is None:
        if subset is None:
            return names
        inside = [name for name in names if name.startswith(f"{subset}/")]
        if not inside:
            folders = sorted({name.partition("/")[0] for name in names if "/" in name})
            raise card.no_such_subset(subset, [each.name for each in subsets] or folders, source)
        return inside
    if not found.patterns:
        return names
    listed = found.files_of(every, source)
    # The folder's own reading finds the same files by the card.
    return [card.CARD_NAME, *(name for each in listed.values() for name in each)]


def _file_of(entry: dict[str, Any], wanted: HubReference, commit: str) -> HubFile:
    name = entry["rfilename"]
    url = hf_hub_url(wanted.repo, name, repo_type="dataset", revision=commit, endpoint=_endpoint())
    large = entry.get("lfs") or {}
    return HubFile(name, url, large.get("sha256"), int(entry.get("size") or 0))


def _endpoint() -> str:
    return os.environ.get("HF_ENDPOINT", "").rstrip("/") or constants.ENDPOINT


def _info(wanted: HubReference, limits: TransferLimits) -> dict[str, Any]:
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
        raise DatasetError(
            f"The data set {wanted} would be fetched from the hub, but HF_HUB_OFFLINE is set.",
            "Put the data set under DATASET_ROOTS.",
        )
    url = f"{_endpoint()}/api/datasets/{wanted.repo}"
    if wanted.revision:
        url += f"/revision/{quote(wanted.revision, safe='')}"
    try:
        info = get_json(f"{url}?blobs=true", auth_headers(), limits)
    except ServerRefused as error:
        raise refused(error, wanted) from error
    if not isinstance(info, dict) or not {"sha", "siblings"} <= set(info):
        raise Unreachable(f"The hub's answer for {wanted} has no list of files.", "Try again.")
    return info


def refused(error: ServerRefused, wanted: HubReference) -> DatasetError:
    """The hub's refusal in the hub's own terms."""
    if error.status == 403:
        return DatasetError(
            f"The data set {wanted} is gated at the hub, and this worker has no access to it.",
            "Accept its terms at the hub and set HF_TOKEN where the worker is started.",
        )
    if error.status in (401, 404):
        return DatasetError(
            f"The hub has no data set {wanted}, or does not show it to this worker.",
            "Check its name; for a private one set HF_TOKEN where the worker is started.",
        )
    return error

"""Data sets of the Hugging Face hub, by ``hf://datasets/owner/name[@revision][/path]`` or a name.

Files alone are fetched, by HTTP; a loading script of the data set is never run.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from huggingface_hub import HfApi, constants, get_token, hf_hub_url
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from tasks.datasets.folder import is_data_file
from tasks.datasets.remote.http import Unreachable
from tasks.errors import DatasetError

_REFERENCE = re.compile(
    r"(?:hf://(?:datasets/)?)?(?P<repo>[\w.-]+/[\w.-]+|[\w.-]+)(?:@(?P<revision>[^/\s]+))?"
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
    return HubReference(found["repo"], found["revision"], (found["path"] or "").strip("/"))


def auth_headers() -> dict[str, str]:
    """What the hub takes for a login: the token of ``HF_TOKEN``, where there is one."""
    token = get_token()
    return {"Authorization": f"Bearer {token}"} if token else {}


def list_files(wanted: HubReference) -> list[HubFile]:
    """The files of data, pinned to one commit. Raises DatasetError."""
    info = _info(wanted)
    below = [
        sibling
        for sibling in info.siblings or []
        if not wanted.path
        or sibling.rfilename == wanted.path
        or sibling.rfilename.startswith(f"{wanted.path}/")
    ]
    files = [
        HubFile(
            sibling.rfilename,
            hf_hub_url(
                wanted.repo,
                sibling.rfilename,
                repo_type="dataset",
                revision=info.sha,
                endpoint=_endpoint(),
            ),
            sibling.lfs.sha256 if sibling.lfs else None,
            sibling.size or 0,
        )
        for sibling in below
        if sibling.rfilename == wanted.path or is_data_file(PurePosixPath(sibling.rfilename))
    ]
    if not files:
        scripted = any(sibling.rfilename.endswith(".py") for sibling in below)
        why = "only a loading script, which is never run" if scripted else "no file of data"
        raise DatasetError(
            f"The data set {wanted} has {why}"
            + (f" below {wanted.path!r}." if wanted.path else "."),
            _SCRIPT_HINT,
        )
    if not wanted.path:
        _refuse_several_configurations(info, wanted)
    return files


def _endpoint() -> str:
    return os.environ.get("HF_ENDPOINT", "").rstrip("/") or constants.ENDPOINT


def _info(wanted: HubReference) -> Any:
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
        raise DatasetError(
            f"The data set {wanted} would be fetched from the hub, but HF_HUB_OFFLINE is set.",
            "Put the data set under DATASET_ROOTS.",
        )
    try:
        return HfApi(endpoint=_endpoint()).dataset_info(
            wanted.repo, revision=wanted.revision, files_metadata=True, timeout=30
        )
    except GatedRepoError as error:
        raise DatasetError(
            f"The data set {wanted} is gated at the hub, and this worker has no access to it.",
            "Accept its terms at the hub and set HF_TOKEN where the worker is started.",
        ) from error
    except RevisionNotFoundError as error:
        raise DatasetError(f"The data set {wanted.repo} has no such revision.") from error
    except RepositoryNotFoundError as error:
        raise DatasetError(
            f"The hub has no data set {wanted.repo}, or does not show it to this worker.",
            "Check the name; for a private one set HF_TOKEN where the worker is started.",
        ) from error
    except (HfHubHTTPError, OfflineModeIsEnabled, OSError) as error:
        raise Unreachable(f"The hub cannot be reached for {wanted}: {error}") from error


def _refuse_several_configurations(info: Any, wanted: HubReference) -> None:
    """One data set may hold several of different columns; which is meant must be said."""
    card = info.card_data.to_dict() if info.card_data else {}
    configurations = card.get("configs") or []
    if len(configurations) > 1:
        names = ", ".join(str(each.get("config_name")) for each in configurations[:20])
        raise DatasetError(
            f"The data set {wanted} holds several: {names}.",
            f"Name the folder of one: hf://datasets/{wanted}/FOLDER.",
        )

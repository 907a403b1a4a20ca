"""A reference of any kind → the file or folder to read."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable
from functools import partial
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from tasks.datasets.cache import cached
from tasks.datasets.sources.remote import hub, s3
from tasks.datasets.sources.remote.downloads import DownloadStore, Fetched
from tasks.datasets.sources.remote.failures import ServerRefused, too_large, without_secrets
from tasks.datasets.sources.remote.http import TransferLimits
from tasks.errors import DatasetError

SCHEMES = ("http", "https", "s3", "hf")
_CHECKSUM = re.compile(r"sha256=([0-9a-f]{64})")


def fetch(
    reference: str, cache_dir: Path, limits: TransferLimits, subset: str | None = None
) -> Fetched:
    """Fetch what ``reference`` (a URL, or a name at the hub) names; at the hub one ``subset``.

    Raises DatasetError.
    """
    if any("\ud800" <= character <= "\udfff" for character in reference):
        raise DatasetError("The URL of the data set holds half a character.", "Check dataset_path.")
    store = DownloadStore(cache_dir / "downloads", limits)
    scheme = reference.partition("://")[0].lower() if "://" in reference else "hf"
    if scheme in ("http", "https"):
        return _fetch_url(reference, store)
    if scheme == "s3":
        return _fetch_s3(s3.location_of(reference), store, limits)
    wanted = hub.reference_of(reference) if scheme == "hf" else None
    if wanted is None:
        raise DatasetError(
            f"Data sets cannot be read from {without_secrets(reference)}.",
            f"Use one of {', '.join(f'{name}://' for name in SCHEMES)}, or a path below "
            "DATASET_ROOTS.",
        )
    return _fetch_from_hub(wanted, store, limits, subset)


def _fetch_url(url: str, store: DownloadStore) -> Fetched:
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host = None
    if not host:
        raise DatasetError(f"{without_secrets(url)} is no URL of a file.", "Check the URL.")
    stated = _CHECKSUM.fullmatch(parts.fragment)
    return store.fetch_url(url, sha256=stated.group(1) if stated else None)


def _fetch_s3(place: s3.Location, store: DownloadStore, limits: TransferLimits) -> Fetched:
    s3.check_allowed(place, limits.s3_buckets)
    bucket = s3.Bucket(limits)

    def fetch_one(one: s3.Location) -> Fetched:
        endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
        name = PurePosixPath(one.key).name
        return store.fetch(f"{endpoint} {one}", name, partial(bucket.fetch, one))

    if not place.is_folder:
        return fetch_one(place)
    found = bucket.objects(place)
    files = [(one.key.removeprefix(place.key), fetch_one(one).path) for one in found]
    return Fetched(_as_folder(store, files), str(place))


def _fetch_from_hub(
    wanted: hub.HubReference, store: DownloadStore, limits: TransferLimits, subset: str | None
) -> Fetched:
    headers, files = hub.auth_headers(), hub.list_files(wanted, limits, subset)
    size, limit = sum(file.size for file in files), limits.max_bytes
    if size > limit:
        raise too_large(f"The data set {wanted}", size, limit)
    try:
        fetched = [
            (file.path, store.fetch_url(file.url, headers=headers, sha256=file.sha256).path)
            for file in files
        ]
    except ServerRefused as error:
        raise hub.refused(error, wanted) from error
    if len(fetched) == 1 and subset is None:
        return Fetched(fetched[0][1], PurePosixPath(fetched[0][0]).name)
    return Fetched(_as_folder(store, fetched), str(wanted))


def _as_folder(store: DownloadStore, files: Iterable[tuple[str, Path]]) -> Path:
    """A folder of the cache with these files under their names, which may not leave it."""
    listed = sorted(files)
    key = hashlib.sha256(json.dumps([[n, p.name] for n, p in listed]).encode()).hexdigest()[:32]
    folder = store.folder / "folders" / key
    cached(folder)  # marks its use
    for name, path in listed:
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
            raise DatasetError(f"A file of the data set reaches out of its folder: {name!r}.")
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if not target.exists():
            os.link(path, target)
    return folder

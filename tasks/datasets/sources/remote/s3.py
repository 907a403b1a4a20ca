"""Objects of S3 and of stores that speak its protocol, by ``s3://bucket/key``.

The endpoint is the operator's to choose (``AWS_ENDPOINT_URL_S3`` or ``AWS_ENDPOINT_URL``), never
the request's: it may be private. Keys come from the usual chain; without any, access is anonymous.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import boto3
from boto3.exceptions import Boto3Error
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectTimeoutError,
    EndpointConnectionError,
    ParamValidationError,
    ReadTimeoutError,
    SSLError,
)

from tasks.datasets.sources.remote.failures import PASSING, BrokenOff, Unreachable, again, too_large
from tasks.datasets.sources.remote.http import TransferLimits, Validators
from tasks.datasets.sources.remote.progress import DownloadProgress
from tasks.errors import DatasetError

_BLOCK_BYTES = 1024 * 1024
_GONE = ("404", "NoSuchKey", "NoSuchBucket", "NotFound")
_CLOSED = ("401", "403", "AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch")
_FAILURES: tuple[tuple[Any, type[DatasetError], str, str], ...] = (
    (
        (ConnectTimeoutError, ReadTimeoutError),
        BrokenOff,
        "The store of {place} did not answer in time.",
        "Try again later.",
    ),
    (
        SSLError,
        DatasetError,
        "The certificate of the store of {place} cannot be trusted.",
        "Set AWS_CA_BUNDLE where the worker is started.",
    ),
    (
        EndpointConnectionError,
        BrokenOff,
        "The store of {place} cannot be reached.",
        "Check AWS_ENDPOINT_URL_S3 where the worker is started.",
    ),
    (ParamValidationError, DatasetError, "{place} is no place in a store.", "Check the URL."),
)


@dataclass(frozen=True)
class Location:
    """``s3://bucket/key``; a key that is empty or ends in ``/`` is a folder."""

    bucket: str
    key: str

    @property
    def is_folder(self) -> bool:
        return not self.key or self.key.endswith("/")

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.key}"


def check_allowed(place: Location, buckets: Collection[str]) -> None:
    """Raise DatasetError if the operator lets jobs read from other buckets alone."""
    if buckets and not any(fnmatchcase(place.bucket, pattern) for pattern in buckets):
        raise DatasetError(
            f"Jobs may not read from the bucket {place.bucket!r}.",
            "Use one that S3_BUCKETS names where the worker is started, or add it there.",
        )


def location_of(url: str) -> Location:
    """The place that an ``s3://`` URL names. Raises DatasetError."""
    bucket, _, key = url.removeprefix("s3://").partition("/")
    if not bucket or "@" in bucket:
        raise DatasetError(f"{url!r} names no bucket.", "Write s3://bucket/path/to/file.")
    return Location(bucket, key)


class Bucket:
    """One store, within ``limits``."""

    def __init__(self, limits: TransferLimits) -> None:
        self._limits = limits
        self._client = _client(limits)

    def objects(self, folder: Location) -> list[Location]:
        """What lies below ``folder``. Raises DatasetError."""
        listed = again()(self._list, folder)
        found = [Location(folder.bucket, item["Key"]) for item in listed if item["Size"]]
        if not found:
            raise DatasetError(f"There is nothing below {folder}.", "Check the URL.")
        size = sum(item["Size"] for item in listed)
        if size > self._limits.max_bytes:
            raise too_large(str(folder), size, self._limits.max_bytes)
        return found

    def _list(self, folder: Location) -> list[Any]:
        with _clear_errors(folder):
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=folder.bucket, Prefix=folder.key
            )
            return [item for page in pages for item in page.get("Contents", [])]

    def fetch(self, place: Location, part: Path, known: Validators) -> Validators | None:
        """Fetch one object, from where an earlier try broke off; see Download.run."""
        return again()(self._try, place, part, known)

    def _try(self, place: Location, part: Path, known: Validators) -> Validators | None:
        with _clear_errors(place):
            head = self._client.head_object(Bucket=place.bucket, Key=place.key)
            etag, size = str(head["ETag"]), int(head["ContentLength"])
            if etag == known.etag:
                return None
            if size > self._limits.max_bytes:
                raise too_large(str(place), size, self._limits.max_bytes)
            self._continue(place, part, etag, size)
            return Validators(etag)

    def _continue(self, place: Location, part: Path, etag: str, size: int) -> None:
        meta = part.with_suffix(".meta")
        same = meta.exists() and meta.read_text() == etag
        have = part.stat().st_size if same and part.exists() else 0
        if not have:
            part.write_bytes(b"")
            meta.write_text(etag)
        progress = DownloadProgress(str(place), part, have, size, self._limits.patience_s)
        while have < size:
            answer = self._client.get_object(
                Bucket=place.bucket, Key=place.key, IfMatch=etag, Range=f"bytes={have}-"
            )
            with part.open("ab") as out:
                for block in answer["Body"].iter_chunks(_BLOCK_BYTES):
                    out.write(block)
                    have += len(block)
                    progress.at(have)
        meta.unlink()


def _client(limits: TransferLimits) -> Any:
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    session = boto3.session.Session()
    anonymous = {} if session.get_credentials() else {"signature_version": UNSIGNED}
    return session.client(
        "s3",
        endpoint_url=endpoint or None,
        region_name=session.region_name or "us-east-1",
        config=Config(
            connect_timeout=limits.connect_timeout_s,
            read_timeout=limits.read_timeout_s,
            retries={"total_max_attempts": 1},  # tried again here
            # Names of buckets as names of hosts: only Amazon's own servers are sure to have them.
            s3={"addressing_style": "path" if endpoint else "auto"},
            **anonymous,
        ),
    )


@contextmanager
def _clear_errors(place: Location) -> Iterator[None]:
    """One clear error for each failure of botocore."""
    try:
        yield
    except ClientError as error:
        raise _answered(error.response, place) from error
    except (BotoCoreError, Boto3Error) as error:
        for kinds, kind, message, hint in _FAILURES:
            if isinstance(error, kinds):
                raise kind(message.format(place=place), hint) from error
        raise BrokenOff(
            f"The download of {place} broke off: {error}.", "Try again later."
        ) from error


def _answered(response: Mapping[str, Any], place: Location) -> DatasetError:
    code = str(response.get("Error", {}).get("Code", ""))
    if code in _GONE:
        return DatasetError(f"There is no object {place} ({code}).", "Check the URL.")
    if code in _CLOSED:
        return DatasetError(
            f"{place} is not open to this worker ({code}).",
            "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY where the worker is started.",
        )
    if code in ("412", "PreconditionFailed"):
        return BrokenOff(f"{place} was changed while it was fetched.", "Try again.")
    passing = response.get("ResponseMetadata", {}).get("HTTPStatusCode") in PASSING
    kind = BrokenOff if passing else Unreachable
    return kind(f"The store answered {code} for {place}.", "Try again later.")

"""One URL → one file: bounded, timed, resumed where it broke off, one clear error each."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

import requests
from requests.exceptions import RequestException
from urllib3.exceptions import HTTPError

from tasks.datasets.sources.remote.addresses import PrivateAddress, open_session
from tasks.datasets.sources.remote.failures import (
    BrokenOff,
    Unreachable,
    again,
    another_size,
    answered,
    looks_like_a_web_page,
    of_library,
    private,
    too_large,
    web_page,
    without_secrets,
)
from tasks.datasets.sources.remote.progress import DownloadProgress
from tasks.errors import DatasetError
from trainyard.contract.units import GB

MOST_REDIRECTS = 10
_BLOCK_BYTES = 256 * 1024


@dataclass(frozen=True)
class TransferLimits:
    """What a download may take. ``patience_s``: how long it may be slower than 1 kB/s;
    ``s3_buckets``: patterns of those that may be read from, all if there is none."""

    max_bytes: int = 50 * GB
    allow_private: bool = False
    connect_timeout_s: float = 10.0
    read_timeout_s: float = 30.0
    patience_s: float = 60.0
    s3_buckets: tuple[str, ...] = ()


@dataclass(frozen=True)
class Validators:
    """What tells whether a remote file has changed; both may be unknown."""

    etag: str | None = None
    last_modified: str | None = None

    @property
    def strong(self) -> str | None:
        """What a broken download can be continued by: the bytes are the same where it is."""
        if self.etag and not self.etag.startswith("W/"):
            return self.etag
        return self.last_modified

    def as_conditions(self) -> dict[str, str]:
        """Headers that ask for the file only where it has changed."""
        if self.etag:
            return {"If-None-Match": self.etag}
        return {"If-Modified-Since": self.last_modified} if self.last_modified else {}


@dataclass
class Download:
    """``url`` → the file ``part``, which may hold the beginning already.

    ``headers`` go to the first host alone. ``sha256`` is what the content must have, where known.
    """

    url: str
    part: Path
    limits: TransferLimits
    headers: Mapping[str, str] = field(default_factory=dict)
    sha256: str | None = None

    def run(self, known: Validators) -> Validators | None:
        """Fetch; None where the file is still the one that ``known`` tells. Raises DatasetError."""
        with open_session(allow_private=self.limits.allow_private) as session:
            return again()(self._try, session, known)

    @property
    def shown(self) -> str:
        """The URL without passwords and parameters, which may be secrets."""
        return without_secrets(self.url)

    def _try(self, session: requests.Session, known: Validators) -> Validators | None:
        kept = self._kept()
        size = self.part.stat().st_size if kept.strong and self.part.exists() else 0
        headers = {"Accept-Encoding": "identity", **self.headers}
        if size:
            headers |= {"Range": f"bytes={size}-", "If-Range": str(kept.strong)}
        else:
            headers |= known.as_conditions()
        total = None
        try:
            with self._follow(session, headers) as response:
                if response.status_code == 304:
                    return None
                found = _validators_of(response)
                if response.status_code == 206:
                    total = self._check_range(response, size)
                else:
                    self._check_status(response)
                    size = 0
                    self._keep(found)
                self._write(response, size)
                self._check_total(total)
                self._check_sums(response, whole=response.status_code == 200)
        except PrivateAddress as error:
            raise private(self.shown, error.host) from error
        except (RequestException, HTTPError) as error:
            raise of_library(error, self.shown) from error
        self._meta.unlink(missing_ok=True)
        return found

    def _follow(self, session: requests.Session, headers: Mapping[str, str]) -> requests.Response:
        """The answer behind all redirects; every hop's scheme and address is checked."""
        url = self.url
        for _ in range(MOST_REDIRECTS):
            scheme = urlsplit(url).scheme.lower()
            if scheme not in ("http", "https"):
                raise DatasetError(
                    f"{self.shown} redirects to {scheme}://, which is not allowed.",
                    "Use a URL that leads to the file over http or https.",
                )
            response = session.get(
                url,
                headers=dict(headers),
                stream=True,
                allow_redirects=False,
                timeout=(self.limits.connect_timeout_s, self.limits.read_timeout_s),
            )
            if not response.is_redirect:
                return response
            response.close()
            target = urljoin(url, response.headers["Location"])
            if urlsplit(target)[:2] != urlsplit(url)[:2]:
                headers = {name: headers[name] for name in headers if name not in self.headers}
            if scheme == "https" and urlsplit(target).scheme == "http":
                raise DatasetError(
                    f"{self.shown} redirects from https to http, which anybody could change.",
                    "Use a URL that stays on https.",
                )
            url = target
        what = f"{self.shown} redirects more than {MOST_REDIRECTS} times."
        raise DatasetError(what, "Use the file's own URL.")

    def _check_status(self, response: requests.Response) -> None:
        status = response.status_code
        if status == 416:
            self._start_over()
        if status != 200:
            raise answered(self.shown, status)
        kind = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        if kind in ("text/html", "application/xhtml+xml"):
            raise web_page(self.shown)

    def _check_range(self, response: requests.Response, size: int) -> int | None:
        """The size of the whole file, where the server states it."""
        stated = re.fullmatch(
            r"bytes (\d+)-(\d+)/(\d+|\*)", response.headers.get("Content-Range", "").strip()
        )
        if stated is None or int(stated.group(1)) != size:
            self._start_over()
            raise BrokenOff(
                f"The server of {self.shown} continued the download at another place.",
                "Try again later.",
            )
        return None if stated.group(3) == "*" else int(stated.group(3))

    def _check_total(self, total: int | None) -> None:
        """A server may send less of the rest than was asked for."""
        size = self.part.stat().st_size
        if total is None or size == total:
            return
        if size > total:
            self._start_over()
        raise another_size(self.shown, size, total)

    def _write(self, response: requests.Response, size: int) -> None:
        length = response.headers.get("Content-Length", "")
        total = size + int(length) if length.isdecimal() else None
        if total is not None and total > self.limits.max_bytes:
            raise too_large(self.shown, total, self.limits.max_bytes)
        progress = DownloadProgress(self.shown, self.part, size, total, self.limits.patience_s)
        with self.part.open("r+b" if size else "wb") as out:
            out.seek(size)
            # What has come, not a block that is whole: who sends too slowly is noticed.
            while block := response.raw.read1(_BLOCK_BYTES, decode_content=False):
                if out.tell() == 0 and looks_like_a_web_page(block):
                    raise web_page(self.shown)
                out.write(block)
                if out.tell() > self.limits.max_bytes:
                    raise too_large(self.shown, None, self.limits.max_bytes)
                progress.at(out.tell())

    def _check_sums(self, response: requests.Response, *, whole: bool) -> None:
        wanted = {"sha256": self.sha256} if self.sha256 else {}
        if whole:
            wanted |= _stated_sums(response.headers)
        for algorithm, digest in wanted.items():
            with self.part.open("rb") as file:
                found = hashlib.file_digest(file, algorithm).hexdigest()
            if found != digest:
                self._start_over()
                raise BrokenOff(
                    f"What {self.shown} sent is damaged: its {algorithm} is {found}, not {digest}.",
                    "Try again later; where it stays, the file or its checksum is wrong.",
                )

    @property
    def _meta(self) -> Path:
        return self.part.with_suffix(".meta")

    def _kept(self) -> Validators:
        try:
            return Validators(**json.loads(self._meta.read_bytes()))
        except (FileNotFoundError, ValueError, TypeError):
            return Validators()

    def _keep(self, validators: Validators) -> None:
        self.part.unlink(missing_ok=True)
        self._meta.write_text(json.dumps(asdict(validators)))

    def _start_over(self) -> None:
        self._meta.unlink(missing_ok=True)
        self.part.unlink(missing_ok=True)


def get_json(url: str, headers: Mapping[str, str], limits: TransferLimits) -> Any:
    """What the JSON at ``url`` says. Raises DatasetError."""
    with tempfile.TemporaryDirectory() as folder:
        part = Path(folder, "answer")
        Download(url, part, limits, headers).run(Validators())
        try:
            return json.loads(part.read_bytes())
        except ValueError as error:
            shown = without_secrets(url)
            raise Unreachable(f"{shown} answered with what is no JSON.", "Try again.") from error


def _validators_of(response: requests.Response) -> Validators:
    return Validators(response.headers.get("ETag"), response.headers.get("Last-Modified"))


def _stated_sums(headers: Mapping[str, str]) -> dict[str, str]:
    """Checksums of the whole file: ``Content-MD5`` (RFC 1864), ``Repr-Digest`` (RFC 9530)."""
    sums = {}
    digest = re.search(r"sha-256=:?([A-Za-z0-9+/]+=*)", headers.get("Repr-Digest", ""))
    stated = {"md5": headers.get("Content-MD5"), "sha256": digest.group(1) if digest else None}
    for algorithm, encoded in stated.items():
        if encoded:
            try:
                sums[algorithm] = base64.b64decode(encoded, validate=True).hex()
            except binascii.Error:
                continue
    return sums

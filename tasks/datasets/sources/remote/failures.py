"""One clear error for each way in which a download fails, without the URL's secrets."""

from __future__ import annotations

import logging

import tenacity
from requests.exceptions import ConnectionError as RequestsConnectionError
from requests.exceptions import InvalidSchema, InvalidURL, SSLError, Timeout
from urllib3.exceptions import NameResolutionError, ReadTimeoutError

from tasks.errors import DatasetError
from trainyard.contract.units import GB

PASSING = frozenset((408, 425, 429, 500, 502, 503, 504))
"""Statuses that another try may mend."""
MOST_TRIES = 5
SECONDS_BETWEEN_TRIES = 1.0

logger = logging.getLogger(__name__)


class Unreachable(DatasetError):
    """The server did not answer, or not usefully: another time it may."""


class ServerRefused(DatasetError):
    """The server answered that it will not give the file; ``status`` is HTTP's."""

    def __init__(self, status: int, sentence: str, mend: str) -> None:
        super().__init__(sentence, mend)
        self.status = status


class BrokenOff(Unreachable):
    """The try failed in a way that another try, a little later, may mend."""


def again() -> tenacity.Retrying:
    """What calls a function again, with pauses that grow, while it fails with BrokenOff."""
    return tenacity.Retrying(
        retry=tenacity.retry_if_exception_type(BrokenOff),
        stop=tenacity.stop_after_attempt(MOST_TRIES),
        wait=tenacity.wait_exponential(SECONDS_BETWEEN_TRIES),
        before_sleep=lambda state: logger.warning(
            "Trying again (%d of %d): %s",
            state.attempt_number + 1,
            MOST_TRIES,
            state.outcome and state.outcome.exception(),
        ),
        reraise=True,
    )


def without_secrets(url: str) -> str:
    """``url`` without user, password, parameters and fragment."""
    scheme, _, rest = url.partition("://")
    place = rest.partition("#")[0].partition("?")[0]
    host, slash, path = place.partition("/")
    return f"{scheme}://{host.rpartition('@')[2]}{slash}{path}"


def looks_like_a_web_page(head: bytes) -> bool:
    """Whether a file starts as HTML does."""
    return head.lstrip()[:14].lower().startswith((b"<!doctype html", b"<html"))


def too_large(shown: str, size: int | None, limit: int) -> DatasetError:
    """The error for more bytes than may be downloaded."""
    what = f"is {size / GB:.3g} GB" if size else "is larger than was said"
    return DatasetError(
        f"{shown} {what}; at most {limit / GB:g} GB may be downloaded.",
        "Use a smaller file, or raise MAX_DOWNLOAD_GB where the worker is started.",
    )


def private(shown: str, host: str) -> DatasetError:
    """The error for an address that is not of the public internet."""
    return DatasetError(
        f"{shown} leads to a private address ({host}), which jobs may not reach.",
        "Put the file under DATASET_ROOTS, or start the worker with ALLOW_PRIVATE_URLS=1.",
    )


def another_size(shown: str, size: int, total: int) -> BrokenOff:
    """The error for a continued download that did not come to the size that was stated."""
    return BrokenOff(
        f"The server of {shown} sent {size:,} bytes of a file of {total:,}.", "Try again later."
    )


def web_page(shown: str) -> DatasetError:
    return DatasetError(
        f"{shown} is a web page, not a file of data.",
        "Use the URL of the file itself: a page to log in, or to share, is often in the way.",
    )


def answered(shown: str, status: int) -> DatasetError:
    """The error for a status that is no success."""
    if status in (404, 410):
        return ServerRefused(status, f"There is no file at {shown} ({status}).", "Check the URL.")
    if status in (401, 403, 407):
        return ServerRefused(
            status,
            f"{shown} is not open to this worker ({status}).",
            "Give it a URL that needs no login (a signed one, say), or put the file under "
            "DATASET_ROOTS.",
        )
    if status in PASSING or status == 416:
        return BrokenOff(f"The server of {shown} cannot answer now ({status}).", "Try again later.")
    return ServerRefused(status, f"The server of {shown} answered {status}.", "Check the URL.")


def of_library(error: Exception, shown: str) -> DatasetError:
    """The error for a failure of requests or urllib3."""
    if isinstance(error, InvalidURL | InvalidSchema):
        return DatasetError(f"{shown} is no URL of a file: {error}", "Check the URL.")
    if isinstance(error, SSLError):
        return DatasetError(
            f"The certificate of {shown} cannot be trusted: {_innermost(error)}",
            "Mend the server's certificate, or set REQUESTS_CA_BUNDLE where the worker is started.",
        )
    if isinstance(error, Timeout | ReadTimeoutError):
        what = f"The server of {shown} did not answer in time."
    elif _caused_by(error, NameResolutionError):
        return Unreachable(f"The host of {shown} is not known.", "Check the URL's host.")
    elif _caused_by(error, ConnectionRefusedError) or "refused" in str(error):
        what = f"The server of {shown} refuses connections."
    elif isinstance(error, RequestsConnectionError) and "timed out" in str(error):
        what = f"The server of {shown} did not answer in time."
    else:
        what = f"The download of {shown} broke off: {_innermost(error)}."
    return BrokenOff(what, "Try again later.")


def _caused_by(error: BaseException | None, kind: type[BaseException]) -> bool:
    """requests and urllib3 wrap errors in ``reason``, in their arguments or as their cause."""
    while error is not None:
        if isinstance(error, kind):
            return True
        inner = getattr(error, "reason", None) or next(iter(error.args), None)
        error = inner if isinstance(inner, BaseException) else error.__cause__
    return False


def _innermost(error: BaseException) -> str:
    while isinstance(inner := next(iter(error.args), None), BaseException):
        error = inner
    return str(error).rstrip(".")

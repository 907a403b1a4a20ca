"""Redaction: secrets leave log lines and errors before those are written or sent anywhere.

Two ways, both always on: values that are known (the job's token, and what the environment holds
under a name like HF_TOKEN or AWS_SECRET_ACCESS_KEY) are replaced wherever they stand, and what
looks like a secret is replaced by its form.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from urllib.parse import quote, urlsplit

from pydantic import SecretStr

from trainyard.contract.errors import ErrorReport, Frame
from trainyard.contract.events import Prediction, Warnings
from trainyard.contract.fields.clean_urls import secrets_of
from trainyard.contract.names import PREDICTION_CHARACTERS_MAX
from trainyard.redis_url import parse_redis_url
from trainyard.secret_environment import SECRET_NAME
from trainyard.secret_pieces import SecretPieces
from trainyard.service_logs import printable
from trainyard.settings import Settings

MASK = "[redacted]"
KNOWN_CHARACTERS_MIN = 8
"""A shorter value is no secret: it would be found in every other word."""
CUT_CHARACTERS_MIN = 6
"""Of a known value that a line break cuts in two, a piece from this length on is replaced."""

_VALUE = r"[^\s'\",;&)}\]]{6,}"
_Form = tuple[Sequence[str], re.Pattern[str]]
_FORMS: tuple[_Form, ...] = tuple(
    (signs, re.compile(form))
    for signs, form in (
        (("hf_oauth_", "hf_jwt_"), r"()hf_(?:oauth|jwt)_[A-Za-z0-9._-]{16,}"),
        (("hf_", "api_org_"), r"()(?:hf|api_org)_[A-Za-z0-9]{16,}"),
        (("akia", "asia"), r"()\b(?:AKIA|ASIA)[A-Z0-9]{16}\b"),
        (
            ("ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_"),
            r"()\b(?:gh[pousr]|github_pat)_[A-Za-z0-9_]{20,}",
        ),
        (("sk-",), r"()\bsk-[A-Za-z0-9_-]{20,}"),
        (("://",), r"(://)[^\s/?#'\"]+(?=@)"),
        # A password with a raw "/" or "?" in it; not a port, behind which an "@" may follow.
        (("://",), r"(://[^\s/?#@:\['\"]*:)(?!\d{1,5}[/?#])[^\s@'\"]{1,200}+(?=@)"),
        (
            ("authorization",),
            r"(?i)(authorization['\"]?\s*[:=]\s*(?:b?['\"])?(?:(?:basic|bearer|token|digest)\s+)?)"
            r"[^\s'\",;]+",
        ),
        (("bearer ",), r"(?i)(bearer\s+)[A-Za-z0-9._~+/=-]{8,}"),
        (
            ("sig", "token=", "key=", "x-amz-"),
            r"(?i)([?&](?:x-amz-[\w-]+|sig|signature|[\w-]*token|key)=)[^\s&'\"]+",
        ),
        (
            ("secret", "passw", "api_key", "api-key", "apikey", "access"),
            r"(?i)((?:secret|passwo?r?d|api[_-]?key|access[_-]?key)[\w-]{0,40}+\\*['\"]?\s*[:=]\s*"
            r"(?:b?\\*['\"])?)(?!None\b|null\b|\[redacted)" + _VALUE,
        ),
        (
            ("token:", "token=", "token'", 'token"', "token\\", "token ", "token_id", "token-id"),
            r"(?i)((?:job|access|auth|api|hf|hub|bearer|session|security|refresh|private)[_-]?token"
            r"(?:[_-]id)?\\*['\"]?\s*[:=]\s*(?:b?\\*['\"])?)(?!None\b|null\b|\[redacted)" + _VALUE,
        ),
    )
)
"""Forms of secrets, each with what text must hold (in lower case) to hold one: most holds none.

None looks at a character more than a bounded number of times: what is masked is written by those
whose jobs run, and the supervisor renews no lease meanwhile.
"""
_JWT_SIGN = "eyJ"
_DOTTED = re.compile(r"[A-Za-z0-9_.-]++")
_JWT_START = re.compile(r"\beyJ[A-Za-z0-9_-]{8}")
_JWT_PART_MIN = 8


class Redactor:
    """Replaces secrets by ``[redacted]``; ``known`` are values to be replaced wherever they are,
    their inner pieces too, but for those that are in a text of ``public``."""

    def __init__(self, known: Iterable[str] = (), public: Collection[str] = ()) -> None:
        values = {value for value in known if len(value) >= KNOWN_CHARACTERS_MIN}
        values |= {quote(value, safe="") for value in values}
        self._known = sorted(values, key=len, reverse=True)
        self._pieces = SecretPieces(self._known, public)

    def text(self, text: str) -> str:
        """``text`` without secrets."""
        for value in self._known:
            text = text.replace(value, MASK)
        text = self._pieces.masked(text, MASK)
        return _masked(text, _forms_in(text))

    def lines(self, lines: Sequence[str]) -> list[str]:
        """The lines, in their order, without secrets.

        A known value that a line break cuts is found too, by its pieces.
        """
        joined = "".join(lines)
        if _JWT_SIGN in joined or self._pieces.may_be_in(joined):
            return [self.line(line) for line in lines]
        forms = _forms_in(joined)
        found = [_masked(line, forms) for line in lines] if forms else list(lines)
        for end in {0, len(found) - 1} if found else ():  # the other piece may be in other output
            found[end] = self._without_pieces(found[end])
        return found

    def line(self, line: str) -> str:
        """One line without secrets, nor the piece of a known one at its start or end."""
        return self._without_pieces(self.text(line))

    def _without_pieces(self, line: str) -> str:
        for value in self._known:
            if len(line) >= CUT_CHARACTERS_MIN and line in value:
                return MASK
            end = _piece_at_end(line, value)
            line = line[: len(line) - end] + MASK if end else line
            start = _piece_at_end(line[::-1], value[::-1])
            line = MASK + line[start:] if start else line
        return line

    def prediction(self, prediction: Prediction) -> Prediction:
        """A sample of the model's answers without secrets, no longer than it may be."""
        texts = {name: value for name, value in prediction if isinstance(value, str)}
        said = {name: self.line(text)[:PREDICTION_CHARACTERS_MAX] for name, text in texts.items()}
        return prediction.model_copy(update=said)

    def warnings(self, warnings: Warnings) -> Warnings:
        """Verdicts without secrets."""
        found = [
            v.model_copy(update={"sentence": self.text(v.sentence)}) for v in warnings.warnings
        ]
        return warnings.model_copy(update={"warnings": found})

    def report(self, report: ErrorReport) -> ErrorReport:
        """An error without secrets: its sentence, its hint, the lines of code in its frames."""
        return ErrorReport(
            kind=report.kind,
            message=self.text(report.message),
            hint=self.text(report.hint),
            exception=self.text(report.exception),
            frames=[
                Frame(**{**frame.model_dump(), "code": self.text(frame.code)})
                for frame in report.frames
            ],
        )


class RedactedFormatter(logging.Formatter):
    """Makes of a log record what ``inner`` makes of it, without secrets, nor what forges lines."""

    def __init__(self, inner: logging.Formatter | None, redactor: Redactor) -> None:
        super().__init__()
        self._inner = inner or logging.Formatter()
        self._redactor = redactor

    def format(self, record: logging.LogRecord) -> str:
        shown = logging.makeLogRecord({**record.__dict__, "args": ()})
        shown.msg = printable(record.getMessage())
        return self._redactor.text(self._inner.format(shown))


def redactor_of(
    settings: Settings,
    environment: Mapping[str, str],
    job_token: SecretStr | None = None,
    dataset_url: SecretStr | None = None,
    public: Collection[str] = (),
) -> Redactor:
    """A redactor that knows every secret of this process, the token of its job and what gives
    access in its data sets' URLs (a line each). ``public``: words that are said all the time, as
    the job's id."""
    ours = {
        name.upper(): value.get_secret_value()
        for name, value in settings
        if isinstance(value, SecretStr)
    }
    known = secrets_in({**environment, **ours, "REDIS_URL": settings.redis_location})
    redis = parse_redis_url(settings.redis_location)  # here they are decoded
    known += [secret for secret in (redis.password, redis.sentinel_password) if secret]
    known += [job_token.get_secret_value()] if job_token else []
    for url in dataset_url.get_secret_value().splitlines() if dataset_url else ():
        known += secrets_of(url)
    return Redactor(known, public)


def secrets_in(environment: Mapping[str, str]) -> list[str]:
    """The values that are secrets by the names of their variables, and passwords within URLs."""
    found = [value for name, value in environment.items() if SECRET_NAME.search(name)]
    found += [value.partition(":")[2] for value in found if ":" in value]  # user:password
    for value in environment.values():
        if "://" in value and "@" in value:
            found.append(_password(value))
    return found


def _password(url: str) -> str:
    try:
        return urlsplit(url).password or ""
    except ValueError:  # no URL after all
        return ""


def _forms_in(text: str) -> list[_Form]:
    """The forms that ``text`` may hold, each with those of its signs that are there."""
    lowered = text.lower()
    found = (([sign for sign in signs if sign in lowered], form) for signs, form in _FORMS)
    return [(signs, form) for signs, form in found if signs]


def _masked(text: str, forms: Sequence[_Form]) -> str:
    if _JWT_SIGN in text:
        text = _DOTTED.sub(_without_jwt, text)
    if not forms:
        return text
    lowered = text.lower()
    for signs, form in forms:
        if any(sign in lowered for sign in signs):
            text = form.sub(rf"\g<1>{MASK}", text)
    return text


def _without_jwt(found: re.Match[str]) -> str:
    """Words with dots: a JSON web token begins in one, and has one or two more."""
    words, kept, at = found[0].split("."), list[str](), 0
    while at < len(words):
        start = _JWT_START.search(words[at]) if _JWT_SIGN in words[at] else None
        if start and at + 1 < len(words) and len(words[at + 1]) >= _JWT_PART_MIN:
            kept.append(words[at][: start.start()] + MASK)
            at += 3
        else:
            kept.append(words[at])
            at += 1
    return ".".join(kept)


def _piece_at_end(line: str, value: str) -> int:
    """How many characters of ``line``'s end are the beginning of ``value``; 0 if too few."""
    beginning = value[:CUT_CHARACTERS_MIN]
    at = line.find(beginning, max(0, len(line) - len(value) + 1))
    while at >= 0:
        if value.startswith(line[at:]):
            return len(line) - at
        at = line.find(beginning, at + 1)
    return 0

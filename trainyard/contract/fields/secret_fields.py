"""Secrets of a request, which the copy that is stored leaves out; and how much one may hold."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping
from typing import Any

from trainyard.contract.error_tree import Interruption
from trainyard.contract.fields.bounded_json import VALUES_MAX
from trainyard.contract.fields.clean_urls import clean_url
from trainyard.contract.fields.spellings import dotted
from trainyard.contract.request import FieldProblem

SECRET_KEY = re.compile(
    r"(^|_)(api_?key|private_?key|password|passwd|secret|credentials?|bearer|authorization|"
    r"(access|auth|hf|hub|huggingface|job|api|session|refresh|backend|id)_?token)($|_)|^token$",
    re.IGNORECASE,
)
"""Names of fields whose value is a secret."""
_OWN_SECRETS = ("job_token", "access_token")
VISIBLE_ASCII = r"[\x21-\x7e]+"
"""What an Authorization header can carry."""
SECRET_MIN = 8
"""A shorter token is looked for in no other field: it would be found in words."""
_REPEATED = "holds a token of this request: not stored"
NESTING_MAX = 32
PROBLEMS_MAX = 100
NAME_CHARACTERS_MAX = 200
TEXT_CHARACTERS_MAX = 100_000
"""Of one text; a prompt, a tool's description or a chat template fits."""
TEXTS_CHARACTERS_MAX = 1_000_000
"""Of all texts but ``dataset_content``."""


class TooMuch(Interruption):
    """A body that holds too much: the rest is not looked at; ``problems`` says why."""


class Copier:
    """Copies a decoded JSON body without its secrets, naming what JSON or UTF-8 cannot hold."""

    def __init__(self, secrets: Collection[str]) -> None:
        self._secrets = secrets
        self._values = self._characters = 0
        self.dropped: list[str] = []
        self.problems: list[FieldProblem] = []

    def copy(self, value: Any, path: tuple[str, ...] = ()) -> Any:
        """A copy of ``value``, which stands at ``path``. Raises TooMuch."""
        if len(path) > NESTING_MAX:
            return self._refuse(path[:2], f"is nested deeper than {NESTING_MAX} levels")
        if isinstance(value, Mapping):
            return self._copy_object(value, path)
        if isinstance(value, list):
            return self._copy_list(value, path)
        if isinstance(value, str):
            return self._copy_text(value, path)
        if isinstance(value, float) and not math.isfinite(value):
            return self._refuse(path, "should be a finite number")
        return value

    def _copy_text(self, value: str, path: tuple[str, ...]) -> Any:
        if not _is_unicode(value):
            return self._refuse(path, "has half of a surrogate pair, which is no character")
        if path == ("dataset_content",):
            return value
        self._characters += len(value)
        if len(value) > TEXT_CHARACTERS_MAX:
            return self._refuse(path, f"is longer than {TEXT_CHARACTERS_MAX:,} characters")
        if self._characters > TEXTS_CHARACTERS_MAX:
            self._refuse(
                (),
                f"has more than {TEXTS_CHARACTERS_MAX:,} characters of text, "
                "dataset_content not counted",
            )
            raise TooMuch
        return clean_url(value)

    def _copy_list(self, value: list[Any], path: tuple[str, ...]) -> list[Any]:
        kept = []
        for i, inner in enumerate(value):
            self._count()
            here = (*path, str(i))
            if self._holds_token(inner):
                self.dropped.append(f"{dotted(here)} ({_REPEATED})")
            else:
                kept.append(self.copy(inner, here))
        return kept

    def _holds_token(self, value: Any) -> bool:
        return isinstance(value, str) and any(secret in value for secret in self._secrets)

    def _copy_object(self, value: Mapping[Any, Any], path: tuple[str, ...]) -> dict[str, Any]:
        kept = {}
        for key, inner in value.items():
            self._count()
            here = (*path, str(key))
            if len(here[-1]) > NAME_CHARACTERS_MAX:
                short = here[-1][: NAME_CHARACTERS_MAX // 4]
                self._refuse(
                    (*path, short), f"has a name longer than {NAME_CHARACTERS_MAX} characters"
                )
            elif not _is_unicode(here[-1]):
                self._refuse(path, "has a name with half of a surrogate pair")
            elif here[0] in _OWN_SECRETS and not path:
                kept[here[0]] = inner
            elif self._holds_token(here[-1]):
                self.dropped.append(f"{dotted(path) or 'body'}: a field's name {_REPEATED}")
            elif self._holds_token(inner):
                self.dropped.append(f"{dotted(here)} ({_REPEATED})")
            elif inner and isinstance(inner, str | list | dict) and SECRET_KEY.search(here[-1]):
                self.dropped.append(f"{dotted(here)} (looks like a secret: not stored)")
            else:
                kept[here[-1]] = self.copy(inner, here)
        return kept

    def _count(self) -> None:
        self._values += 1
        if self._values > VALUES_MAX:
            self._refuse((), f"holds more than {VALUES_MAX:,} values besides dataset_content")
            raise TooMuch

    def _refuse(self, path: tuple[str, ...], message: str) -> None:
        if len(self.problems) >= PROBLEMS_MAX:
            more = f"more fields are wrong: the first {PROBLEMS_MAX} are named"
            self.problems.append(FieldProblem(path="body", message=more))
            raise TooMuch
        self.problems.append(FieldProblem(path=dotted(path) or "body", message=message))


def own_secrets(body: Mapping[Any, Any]) -> list[str]:
    """The tokens of the request, which no other field may carry into the job store."""
    values = (body.get(name) for name in _OWN_SECRETS)
    return [value for value in values if isinstance(value, str) and len(value) >= SECRET_MIN]


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True

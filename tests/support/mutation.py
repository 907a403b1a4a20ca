"""Mutations: a fault is put back into the code, and a test of the suite has to turn red."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from tasks.errors import ModelError

RED = (AssertionError, ModelError, pytest.fail.Exception, ValueError, TypeError)


@dataclass(frozen=True)
class Mutation:
    """``place`` of the code becomes ``value``: then ``test`` fails with ``arguments``.

    Fixtures are given by their names.
    """

    place: str
    value: Any
    test: Callable[..., None]
    arguments: Mapping[str, Any] = field(default_factory=dict)

    def turns_red(
        self, monkeypatch: pytest.MonkeyPatch, fixtures: Mapping[str, Callable[[], Any]]
    ) -> None:
        """Put the fault back and see the test fail."""
        wanted = inspect.signature(self.test).parameters
        given = {name: make() for name, make in fixtures.items() if name in wanted}
        monkeypatch.setattr(self.place, self.value)
        with pytest.raises(RED):
            self.test(**given, **self.arguments)

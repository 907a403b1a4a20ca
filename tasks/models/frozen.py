"""Frozen weights of a model: those that a request names stay as they are."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Any

from tasks.errors import ConfigurationError

_SHOWN = 5
logger = logging.getLogger(__name__)


def freeze(model: Any, patterns: Sequence[str]) -> None:
    """Freeze what any of ``patterns`` matches: a module with all below it, or a weight, by its
    whole name, in which ``*``, ``?`` and ``[0-3]`` stand for others.

    Raises ConfigurationError for one that matches nothing, and if nothing is left to train.
    """
    if not patterns:
        return
    names = dict(model.named_parameters(remove_duplicate=False))
    for pattern in patterns:
        found = [name for name in names if _matches(name, pattern)]
        if not found:
            raise ConfigurationError(
                f"config.training.freeze: {pattern!r} matches no weight of the model.",
                f"It has, among others: {', '.join(list(names)[:_SHOWN])}.",
            )
        tied = {id(names[name]) for name in found}
        shared = [name for name in names if id(names[name]) in tied and name not in found]
        for name in found:
            names[name].requires_grad_(False)
        also = f", and with them {', '.join(shared)}, which are the same" if shared else ""
        logger.info("Frozen by %s: %d weights%s", pattern, len(found), also)
    if not any(weight.requires_grad for weight in names.values()):
        raise ConfigurationError("config.training.freeze leaves no weight to train.")


def _matches(name: str, pattern: str) -> bool:
    return fnmatchcase(name, pattern) or fnmatchcase(name, f"{pattern}.*")

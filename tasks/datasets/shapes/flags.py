"""Flags of a message that say whether it is trained on."""

from __future__ import annotations

from typing import Any

from tasks.datasets.shapes.problems import RowProblem

WEIGHTS = ("weight", "loss_weight")
TRAINED_IF_TRUE = (
    *WEIGHTS,
    *("train", "training", "trainable", "do_train", "is_trainable", "train_on"),
    *("loss", "loss_mask", "compute_loss"),
)
TRAINED_IF_FALSE = ("mask", "masked", "is_masked", "ignore", "no_loss", "no_train", "skip_loss")
_TRAINED_IN_PARTS = ("train_detail", "training_detail")


def is_trained(message: dict[str, Any], role: str, column: str) -> bool:
    """What a message's flags say, taken out of it. Raises RowProblem.

    Only answers are trained on: one of another ``role`` that is to be keeps a key that says so, for
    the keys that are not used are reported.
    """
    if any(message.get(name) for name in _TRAINED_IN_PARTS):
        raise RowProblem(
            f"a message in {column!r} says which of its parts are trained on, which is unsupported",
            "Part it into messages with a weight each, or take the key out.",
        )
    trained = True
    for names, wanted in ((TRAINED_IF_TRUE, True), (TRAINED_IF_FALSE, False)):
        for name in names:
            if name in message:
                said = _flag(message.pop(name), name, column) is wanted
                trained &= said
                if said and role != "assistant":
                    message[f"{name} of the {role}"] = True
    return trained


def _flag(value: Any, name: str, column: str) -> bool:
    spelled = {"0": False, "1": True, "false": False, "true": True, "0.0": False, "1.0": True}
    found = spelled.get(str(value).strip().lower())
    if found is None:
        raise RowProblem(
            f"a message in {column!r} has the {name} {str(value)[:20]!r}",
            "Give it 0 (not trained on) or 1.",
        )
    return found

"""Marks that columns give rows: good or bad, held out, weighed, with pictures, of several choices.

A column is judged by its name or by its values; the values are read only as far as the judgement
needs.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from typing import Any

from tasks.datasets.shapes.canonical import ROLES
from tasks.datasets.shapes.flags import TRAINED_IF_FALSE, TRAINED_IF_TRUE, WEIGHTS
from tasks.datasets.shapes.values import is_missing

_MEDIA = re.compile(
    r"(?:image|img|picture|photo|audio|video|speech|pixel_value)s?"
    r"(?:_?(?:url|uri|path|file|filename|bytes|base64|b64|data|token))?s?"
)
LABELS = ("label", "kto_tag")
"""Names of a column that says nothing but whether an answer is good."""
_GOOD = (
    *(*LABELS, "score", "reward", "rating", "quality", "passed", "success", "verified"),
    *("correct", "good", "accepted", "approved", "acceptable", "desirable", "preferred", "chosen"),
    *("helpful", "thumbs_up", "upvoted", "liked"),
)
_BAD = ("bad", "wrong", "incorrect", "rejected", "thumbs_down", "downvoted", "disliked", "deleted")
_TRUTHS = {
    **dict.fromkeys(("true", "yes", "y", "1", "1.0"), True),
    **dict.fromkeys(("false", "no", "n", "0", "0.0", "-1", "-1.0"), False),
}
_VERDICTS = {
    **dict.fromkeys(("good", "chosen", "desirable", "correct", "accepted", "approved"), True),
    **dict.fromkeys(("preferred", "thumbs_up", "thumbs up", "upvote", "like", "pass"), True),
    **dict.fromkeys(("bad", "rejected", "undesirable", "incorrect", "wrong"), False),
    **dict.fromkeys(("dispreferred", "thumbs_down", "thumbs down", "downvote"), False),
    **dict.fromkeys(("dislike", "fail", "failed", "declined", "unaccepted", "disapproved"), False),
}
"""Words that say by themselves what an answer is worth, whatever the column is called."""
_SPLITS = {
    **dict.fromkeys(("train", "training"), False),
    **dict.fromkeys(("test", "testing", "val", "valid", "validation", "validate"), True),
    **dict.fromkeys(("dev", "eval", "evaluation", "holdout", "held_out", "heldout"), True),
}
"""Values of a column of splits, and whether they are held out."""
_IN_SPLIT = re.compile(r"(?:is|in|for)_(\w+)")
_WEIGHTS = (*WEIGHTS, "weights", "sample_weight", "example_weight", "loss_masks", "row_weight")
_CHOICES = re.compile(
    r"(?:mc_?|mcq_?|answer_)?(?:choice|option|ending|candidate)s?(?:_list|_text)?|multiple_choice"
)
_ONE_OPTION = re.compile(r"(?:opt|option|op|choice|ans|answer|ending)?[ _]?[a-e1-5]")
_INDEX = re.compile(r"\s*\(?(?:[A-J](?:[ ,;&]*[A-J])*|[a-j]|\d)\)?\.?\s*")
_OPTIONS_MIN = 2
_SPEAKERS = ("role", "from", "sender", "speaker", "author", "author_role", "message_role")


def is_media(column: str) -> bool:
    """Whether a column's name says that it holds pictures, sounds or films."""
    return _MEDIA.fullmatch(column.lower()) is not None


def marks_bad(column: str, values: Iterable[Any]) -> bool:
    """Whether some of ``values`` say that a row's answer is bad."""
    name = column.lower().removeprefix("is_").removeprefix("was_")
    wanted = name not in _BAD
    named = name in (*_GOOD, *_BAD)
    bad = False
    for value in _present(values):
        word = _word(value)
        verdict = _VERDICTS.get(word)
        if verdict is None and named and word in _TRUTHS:
            verdict = _TRUTHS[word] is wanted
        if verdict is None:
            return False
        bad |= not verdict
    return bad


def label_of(value: Any) -> bool | None:
    """Whether ``value`` calls an answer good; None if it is no such word."""
    word = _word(value)
    return _VERDICTS.get(word, _TRUTHS.get(word))


def held_out(column: str, values: Iterable[Any]) -> bool:
    """Whether ``values`` part the rows into some that train and some that do not."""
    asked = _IN_SPLIT.fullmatch(column.lower())
    by_name = _SPLITS.get(asked[1]) if asked else None
    found = set()
    for value in _present(values):
        word = _word(value)
        out = _SPLITS.get(word)
        if out is None and by_name is not None and word in _TRUTHS:
            out = _TRUTHS[word] is by_name
        if out is None:
            return False
        found.add(out)
    return len(found) > 1


def weighs_unlike(column: str, values: Iterable[Any]) -> bool:
    """Whether ``values`` say that some of the rows, or of their messages, are not trained on."""
    name = column.lower()
    if name not in (*_WEIGHTS, *TRAINED_IF_TRUE, *TRAINED_IF_FALSE):
        return False
    least = 1.0 if name not in TRAINED_IF_FALSE else 0.0
    unlike = False
    for value in _present(values):
        for item in value if isinstance(value, list) else [value]:
            weight = _weight(item)
            if weight is None or not 0 <= weight <= 1 or (weight % 1 and name not in _WEIGHTS):
                return False  # of something else: a person, a loss that was measured
            unlike |= weight != least
    return unlike


def option_columns(columns: Collection[str]) -> list[str]:
    """The columns that hold the choices of a question."""
    whole = [column for column in columns if _CHOICES.fullmatch(column.lower())]
    single = [column for column in columns if _ONE_OPTION.fullmatch(column.lower())]
    return whole or (single if len(single) >= _OPTIONS_MIN else [])


def index_of_choices(answers: Iterable[Any]) -> bool:
    """Whether all answers are numbers or letters of choices."""
    some = False
    for answer in _present(answers):
        if not _INDEX.fullmatch(str(answer)):
            return False
        some = True
    return some


def _present(values: Iterable[Any]) -> Iterator[Any]:
    return (value for value in values if not is_missing(value))


def _word(value: Any) -> str:
    return str(value).strip().lower() if isinstance(value, str | int | float) else ""


def _weight(value: Any) -> float | None:
    word = _word(value)
    if word in ("true", "false"):
        return float(word == "true")
    try:
        return float(word)
    except ValueError:
        return None


def tells_speakers(column: str, values: Iterable[Any]) -> bool:
    """Whether a column says whose turn each row is: its rows are messages, not texts."""
    told = (str(value).strip().lower() for value in values if not is_missing(value))
    return column.lower() in _SPEAKERS and any(value in ROLES for value in told)

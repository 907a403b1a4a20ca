"""Columns that nobody reads, though their names say that they belong to a prompt or an answer."""

from __future__ import annotations

import re
from collections.abc import Iterable

from tasks.datasets.shapes.shape import Shape

_PROMPT = re.compile(
    r"(?:passage|paragraph|document|doc|article|knowledge|background|evidence|excerpt|choice|option"
    r"|persona|instruction|schema|source_text|reference_text|retrieved|scenario|hypothesis|premise"
    r"|system_instruction|system_prompt|table|image_caption)s?"
)
_ANSWER = re.compile(
    r"(?:rationale|cot|chain_of_thought|complex_cot|reasoning|reasoning_content|thinking|thought"
    r"|think|explanation|solution|steps)s?"
)
_LABEL = re.compile(
    r"(?:label|target|class|sentiment|emotion|intent|gold|gold_label)s?(?:_(?:text|name|id|str))?"
)
"""Beside a text: what a classifier is to answer."""
_ANSWERS_OF_TEXTS = (
    "{labels} may be the answer that a text is to get, and is not used: only the text is learnt. "
    'To learn the answer, send config.data.columns, as in {{"question": "your column", "answer": '
    '"your other column"}}'
)


def may_be_missed(columns: Iterable[str], shape: Shape) -> list[str]:
    """What to say of the unused ``columns`` of rows of a ``shape``."""
    if shape.name == "prompt":
        return []
    if shape.name == "text":
        labels = [repr(column) for column in columns if _LABEL.fullmatch(column.lower())]
        return [_ANSWERS_OF_TEXTS.format(labels=", ".join(labels))] if labels else []
    said = []
    for kind, pattern in (("prompt", _PROMPT), ("answer", _ANSWER)):
        found = [repr(column) for column in columns if pattern.fullmatch(column.lower())]
        if found and not (kind == "prompt" and shape.name == "messages"):
            said.append(
                f"{', '.join(found)} may belong to the {kind}, and is not used "
                "(config.data.columns says what columns mean)"
            )
    return said

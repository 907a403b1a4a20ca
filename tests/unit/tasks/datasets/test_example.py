"""Conversation of a job as it is asked about later: its text by the tokenizer's own template."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest
from transformers.utils.chat_template_utils import render_jinja_template

from docs.reference.templates import CONVERSATIONS, plain_tokenizer, trl_templates
from tasks.datasets.example import conversation_of
from tasks.datasets.shapes.canonical import canonical_messages
from tasks.datasets.tokens.render import Rendering

TEMPLATES = trl_templates()
OWN = [name for name in TEMPLATES if f"{name}_training" in TEMPLATES]
PARTS = (
    "{% for message in messages %}<{{ message.role }}>"
    "{% for part in message.content %}{{ part.text }}{% endfor %}</s>{% endfor %}"
)
"""A template that wants contents in parts."""


@pytest.mark.parametrize("name", [*OWN, PARTS], ids=[*OWN, "parts"])
def test_a_variant_for_training_leaves_the_text_of_the_own_template(name: str) -> None:
    tokenizer = plain_tokenizer()
    tokenizer.chat_template = TEMPLATES.get(name, name)
    variant = TEMPLATES.get(f"{name}_training", TEMPLATES["qwen3_training"])
    how = Rendering(tokenizer, template=variant)
    first: Any = SimpleNamespace(first_row=0)
    for kind in CONVERSATIONS:
        canonical = json.dumps(canonical_messages(CONVERSATIONS[kind], "messages"))
        row = {"row": 0, "messages": canonical, "tools": ""}
        found = conversation_of([row], [0], first, how)
        if found is None:  # the variant refuses it, and it is not trained on
            continue
        [text], _ = render_jinja_template(
            [found.messages], chat_template=tokenizer.chat_template, **tokenizer.special_tokens_map
        )
        assert found.text == text, kind

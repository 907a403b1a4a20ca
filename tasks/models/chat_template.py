"""Chat template of our own, for tokenizers that have none."""

from __future__ import annotations

from typing import Any

SIMPLE_CHAT_TEMPLATE = (
    "{%- for message in messages -%}"
    "{%- if message['role'] == 'system' -%}{{ message['content'] + '\n\n' }}"
    "{%- elif message['role'] == 'assistant' -%}"
    "{{ '### Response:\n' + message['content'] + eos_token + '\n\n' }}"
    "{%- else -%}{{ '### Instruction:\n' + message['content'] + '\n\n' }}"
    "{%- endif -%}{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{ '### Response:\n' }}{%- endif -%}"
)
"""What a tokenizer without a chat template of its own gets (in Alpaca's manner)."""


def simple_chat_template(tokenizer: Any) -> str:
    """It, with the token in front that ``tokenizer`` begins a text with, if it adds one."""
    bos = tokenizer.bos_token_id
    adds_bos = bos is not None and tokenizer("a")["input_ids"][:1] == [bos]
    return ("{{ bos_token }}" if adds_bos else "") + SIMPLE_CHAT_TEMPLATE

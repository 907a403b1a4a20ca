"""Modelfile for Ollama: where the weights are, the chat template in its language, where to stop.

The template is made by rendering a turn whose texts are Ollama's own placeholders, so that it says
what the model was trained on, whatever the tokenizer's template is. It is one turn: Ollama puts the
turns before it in front. https://docs.ollama.com/modelfile
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jinja2.exceptions import TemplateError
from transformers import AutoConfig, AutoTokenizer

from tasks.datasets.tokens.render import added_bos
from tasks.models.end_tokens import end_tokens

_SYSTEM, _PROMPT = "{{ .System }}", "{{ .Prompt }}"


def modelfile(folder: Path) -> str:
    """The text for the whole model in ``folder``."""
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    config = AutoConfig.from_pretrained(folder)
    ends = sorted({*end_tokens(folder, config), tokenizer.eos_token_id} - {None})
    stops = tokenizer.convert_ids_to_tokens(ends)
    lines = ["FROM .", f"TEMPLATE {_quoted(template_of(tokenizer))}"]
    lines += [f"PARAMETER stop {_quoted(stop)}" for stop in stops]
    return "\n".join(lines) + "\n"


def template_of(tokenizer: Any) -> str:
    """The tokenizer's chat template in Go's language: the question, and a system text if any."""
    asked = {"role": "user", "content": _PROMPT}
    plain = _rendered(tokenizer, [asked])
    try:
        told = _rendered(tokenizer, [{"role": "system", "content": _SYSTEM}, asked])
    except TemplateError:  # it takes no system text
        told = plain
    if told == plain or _SYSTEM not in told:
        return f"{plain}{{{{ .Response }}}}"
    return f"{{{{ if .System }}}}{told}{{{{ else }}}}{plain}{{{{ end }}}}{{{{ .Response }}}}"


def _rendered(tokenizer: Any, messages: list[dict[str, str]]) -> str:
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    return str(text).removeprefix(added_bos(tokenizer))  # Ollama adds it itself


def _quoted(text: str) -> str:
    return f'"""{text}"""'

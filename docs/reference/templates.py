"""docs/reference/templates.md: what chat templates make of conversations, by trying each."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast

from tasks.datasets.shapes.calls import canonical_tools
from tasks.datasets.shapes.canonical import canonical_messages
from tasks.datasets.shapes.problems import RowProblem
from tasks.datasets.tokens.template import ChatTemplate
from tasks.datasets.tokens.turns import Turns, turns_of

_TRAINING = "_training"
_USER = {"role": "user", "content": "What is 2+2?"}
_ANSWER = {"role": "assistant", "content": "It is 4."}
_MORE = [{"role": "user", "content": "And 3+3?"}, {"role": "assistant", "content": "It is 6."}]
_CALL = {"name": "get_weather", "arguments": '{"city": "Paris", "days": 2}'}
TOOLS = [
    {
        "name": "get_weather",
        "description": "The weather of a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    }
]
CONVERSATIONS: dict[str, list[dict[str, Any]]] = {
    "plain": [_USER, _ANSWER],
    "several turns": [_USER, _ANSWER, *_MORE],
    "system": [{"role": "system", "content": "Be brief."}, _USER, _ANSWER],
    "ends with the user": [_USER, _ANSWER, _MORE[0]],
    "starts with the assistant": [{"role": "assistant", "content": "Hello!"}, _USER, _ANSWER],
    "reasoning in each turn": [
        {**message, "reasoning_content": f"Reason {number}."}
        if message["role"] == "assistant"
        else message
        for number, message in enumerate([_USER, _ANSWER, *_MORE])
    ],
    "tool calls": [
        {"role": "user", "content": "Weather in Paris?"},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "call00001", "type": "function", "function": _CALL}],
        },
        {"role": "tool", "tool_call_id": "call00001", "name": "get_weather", "content": "20 deg"},
        {"role": "assistant", "content": "It is warm."},
        *_MORE,
    ],
    "parts": [
        {**message, "content": [{"type": "text", "text": message["content"]}]}
        for message in (_USER, _ANSWER)
    ],
    "developer": [{"role": "developer", "content": "Be brief."}, _USER, _ANSWER],
}
"""The conversations that are tried, as people write them."""

_HEAD = """# Chat templates

What becomes of conversations with each chat template that TRL {version} ships; made by trying each
(`python -m docs.reference`). `name (training)` is TRL's variant for training: it gives the text in
the place of the original, unless `config.data.training_template` is false. *all*: every turn of the
assistant is trained on, up to the token that ends it, and nothing else. *less* and *refused* stand
for a sentence below; a refused row is an error that `config.data.skip_bad_rows` gets past.

"""


def trl_templates() -> dict[str, str]:
    """The chat templates that the installed TRL ships, by name."""
    spec = find_spec("trl")
    assert spec is not None and spec.origin is not None
    folder = Path(spec.origin).parent / "chat_templates"
    found = {path.stem: path.read_text(encoding="utf-8") for path in folder.glob("*.jinja")}
    return {name: found[name] for name in sorted(found, key=_original_first)}


def _original_first(name: str) -> tuple[str, bool]:
    return name.removesuffix(_TRAINING), name.endswith(_TRAINING)


def plain_tokenizer() -> Any:
    """A tokenizer of one token: templates ask it for its special tokens only."""
    backend = Tokenizer(models.WordLevel({"<unk>": 0}, "<unk>"))
    special = {"bos_token": "<bos>", "eos_token": "<eos>"}
    return PreTrainedTokenizerFast(tokenizer_object=backend, **special)


def tried(template: ChatTemplate, name: str) -> Turns | RowProblem:
    """What ``template`` makes of the conversation of that name."""
    messages = canonical_messages(CONVERSATIONS[name], "messages")
    calls = any("tool_calls" in message for message in messages)
    tools = canonical_tools(TOOLS, "tools") if calls else None
    [found] = turns_of(template, [messages], [tools])
    return found


def as_markdown() -> str:
    """The page."""
    import trl  # noqa: PLC0415 - it takes seconds

    tokenizer, sentences = plain_tokenizer(), dict[str, int]()
    lines = [f"| template | {' | '.join(CONVERSATIONS)} |", "|---" * (len(CONVERSATIONS) + 1) + "|"]
    for name, source in trl_templates().items():
        template = ChatTemplate(tokenizer, source)
        cells = [_cell(tried(template, conversation), sentences) for conversation in CONVERSATIONS]
        lines.append(f"| {name.replace(_TRAINING, ' (training)')} | {' | '.join(cells)} |")
    notes = [f"{number}. {sentence}" for sentence, number in sentences.items()]
    return _HEAD.format(version=trl.__version__) + "\n".join([*lines, "", *notes]) + "\n"


def _cell(found: Turns | RowProblem, sentences: dict[str, int]) -> str:
    if isinstance(found, RowProblem):
        return f"refused {sentences.setdefault(found.sentence, len(sentences) + 1)}"
    if not found.left_out:
        return "all"
    said = f"The chat template leaves out {', '.join(found.left_out)}: a warning."
    return f"less {sentences.setdefault(said, len(sentences) + 1)}"

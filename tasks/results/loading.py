"""Loading and asking of a result, for its card: also if its base model lies elsewhere by now."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from trainyard.contract.config import JobConfig, ModelConfig

_WHOLE = """```python
from transformers import AutoModelForCausalLM, AutoTokenizer

model = AutoModelForCausalLM.from_pretrained(".", dtype="{dtype}")
tokenizer = AutoTokenizer.from_pretrained(".")
```"""
_ADAPTER = """```python
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

base = AutoModelForCausalLM.from_pretrained({base}{revision})
model = PeftModel.from_pretrained(base, ".")
model.generation_config = GenerationConfig.from_pretrained(".")
tokenizer = AutoTokenizer.from_pretrained(".")
```"""
_SCORING_ADAPTER = (
    _ADAPTER.replace(", GenerationConfig", "")
    .replace('model.generation_config = GenerationConfig.from_pretrained(".")\n', "")
    .replace("{revision}", "{revision}, num_labels=1")
)
_ASK = """```python
asked = {asked}
answer = model.generate(**asked, max_new_tokens=256)
print(tokenizer.decode(answer[0, asked["input_ids"].shape[1]:], skip_special_tokens=True))
```"""
_OF_CHAT = """tokenizer.apply_chat_template(
    [{"role": "user", "content": "Hello!"}],
    add_generation_prompt=True, return_dict=True, return_tensors="pt",
)"""
_OF_TEXT = 'tokenizer("Once upon a time", return_tensors="pt")'
_STOPS = """Generation stops at the tokens that `generation_config.json` names. Those of the base
model may be others: vLLM takes this folder's with `--generation-config`."""
_MOVED = """The adapter names its base model as the job did, `{name}`. If that is a folder, write
the path where it lies now in its place; when this was trained it lay in `{folder}`. What loads the
adapter by `base_model_name_or_path` of `adapter_config.json` needs that path there."""


def _as_scorer(text: str) -> str:
    return text.replace("AutoModelForCausalLM", "AutoModelForSequenceClassification")


def how_to_load(config: JobConfig, model: ModelConfig, base: Path, dtype: str) -> Iterator[str]:
    """Paragraphs of Markdown. ``model``: what names the base model; ``base``: where it lies now."""
    scores = config.training.how.scores_texts
    if not config.training.use_lora:
        yield from how_to_load_whole(dtype, scores=scores)
        return
    revision = f", revision={json.dumps(model.revision)}" if model.revision else ""
    if scores:
        yield _as_scorer(_SCORING_ADAPTER.format(base=json.dumps(model.name), revision=revision))
    else:
        yield _ADAPTER.format(base=json.dumps(model.name), revision=revision)
        yield _STOPS
    yield _MOVED.format(name=model.name, folder=base)


def how_to_load_whole(dtype: str, *, scores: bool) -> Iterator[str]:
    """The same of a model that needs no other. ``scores``: whether it gives a text a number."""
    whole = _WHOLE.format(dtype=dtype)
    yield _as_scorer(whole) if scores else whole
    if not scores:
        yield _STOPS


def how_to_ask(*, chats: bool) -> str:
    """Markdown for what loading made. ``chats``: whether the rows went through a chat template."""
    return _ASK.format(asked=_OF_CHAT if chats else _OF_TEXT)

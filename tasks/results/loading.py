"""Loading of a result, for its card: also if its base model lies elsewhere by now."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from trainyard.contract.config import JobConfig

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
_STOPS = """Generation stops at the tokens that `generation_config.json` names. Those of the base
model may be others: vLLM takes this folder's with `--generation-config`."""
_MOVED = """The adapter names its base model as the job did, `{name}`. If that is a folder, write
the path where it lies now in its place; when this was trained it lay in `{folder}`. What loads the
adapter by `base_model_name_or_path` of `adapter_config.json` needs that path there."""


def how_to_load(config: JobConfig, base: Path, dtype: str) -> Iterator[str]:
    """Paragraphs of Markdown. ``base``: where the base model lies now."""
    if not config.training.use_lora:
        yield _WHOLE.format(dtype=dtype)
        yield _STOPS
        return
    model = config.model
    revision = f", revision={json.dumps(model.revision)}" if model.revision else ""
    yield _ADAPTER.format(base=json.dumps(model.name), revision=revision)
    yield _STOPS
    yield _MOVED.format(name=model.name, folder=base)

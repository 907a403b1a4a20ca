"""A model so small that a test can train it."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest

VOCABULARY = 512
_SAMPLE = [
    "What is 1 plus 2? The answer is 3.",
    "def add(a, b):\n    return a + b",
    "The quick brown fox jumps over the lazy dog, 0123456789 times.",
    "### Instruction:\nName a colour.\n\n### Response:\nblue\n\n",
]


def make_tiny_model(folder: Path, *, hidden_size: int = 64) -> Path:
    """Write a Llama of about 0.1M parameters with a byte-level BPE tokenizer; returns ``folder``.

    512 tokens of vocabulary at most, 256 positions, safetensors, no chat template. The same
    weights each time. A smaller ``hidden_size`` makes a smaller one: 13,000 parameters with 16.
    Takes well under a second beside the import of torch and transformers.
    """
    # Late: tests of the worker and the bridge import tests.support without torch.
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
    from transformers.utils import logging

    logging.disable_progress_bar()
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=["<pad>", "<eos>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(_SAMPLE, trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, eos_token="<eos>", pad_token="<pad>"
    )
    tokenizer.save_pretrained(folder)

    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=hidden_size,
        intermediate_size=2 * hidden_size,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=256,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        LlamaForCausalLM(config).save_pretrained(folder)
    return folder


def make_tiny_reward_model(folder: Path, tiny: Path) -> Path:
    """Write a classifier of one number with the tokenizer of the model ``tiny``; as fixed."""
    import torch
    from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

    config = AutoConfig.from_pretrained(tiny, num_labels=1)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        AutoModelForSequenceClassification.from_config(config).save_pretrained(folder)
    AutoTokenizer.from_pretrained(tiny).save_pretrained(folder)
    return folder


CHATML = (
    "{%- for m in messages -%}"
    "{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{ '<|im_start|>assistant\n' }}{%- endif -%}"
)


def make_chatml_model(folder: Path, tiny: Path) -> Path:
    """Write the model ``tiny`` with ChatML's template: turns end with ``<|im_end|>``, and the model
    stops at ``<eos>``, as base models of the Qwen family do."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]})
    tokenizer.chat_template = CHATML
    model = AutoModelForCausalLM.from_pretrained(tiny)
    model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def load_adapter(base: Path, folder: Path) -> Any:
    """The adapter in ``folder`` on the base model, as PEFT loads it."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # PEFT uses an old name of transformers
        return PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), folder)


def run_card(folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the Python of the card in ``folder`` makes, run there as the card says."""
    blocks = (folder / "README.md").read_text().split("```python\n")[1:]
    monkeypatch.chdir(folder)
    made: dict[str, Any] = {}
    for block in blocks:
        exec(block.partition("```")[0], made)
    return made

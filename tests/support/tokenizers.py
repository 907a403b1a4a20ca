"""Tokenizers for tests of chat templates: byte-level, with special tokens, in memory."""

from __future__ import annotations

from typing import Any

from tests.support.paths import REPOSITORY

SPECIAL_TOKENS = (
    *("<pad>", "<bos>", "<eos>", "<|im_start|>", "<|im_end|>", "<|eot_id|>", "<think>", "</think>"),
    *("<|start_header_id|>", "<|end_header_id|>", "<start_of_turn>", "<end_of_turn>"),
    *("[INST]", "[/INST]", "[TOOL_CALLS]", "<|User|>", "<|Assistant|>", "<tool_call>"),
)
FAMILIES = {
    "chatml": {"eos": "<|im_end|>"},
    "qwen3": {"eos": "<|im_end|>"},
    "llama3": {"eos": "<|eot_id|>", "adds_bos": True},
    "mistral3": {"adds_bos": True},
    "gemma": {"adds_bos": True},
    "r1": {"adds_bos": True},
    "noeos": {},
}
"""Chat templates in the style of families of models, in tests/data/chat_templates."""


def tokenizer_of(family: str) -> Any:
    """The tokenizer of one of ``FAMILIES``."""
    path = REPOSITORY / "tests" / "data" / "chat_templates" / f"{family}.jinja"
    return make_tokenizer(path.read_text(encoding="utf-8"), **FAMILIES[family])


def make_tokenizer(
    template: str | None = None, *, adds_bos: bool = False, eos: str = "<eos>"
) -> Any:
    """A tokenizer of bytes and ``SPECIAL_TOKENS``, with the chat ``template``."""
    # Late: tests of the worker and the bridge import tests.support without transformers.
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(["What is the answer? It is the other one."], trainer)
    if adds_bos:
        bos = ("<bos>", backend.token_to_id("<bos>"))
        backend.post_processor = processors.TemplateProcessing("<bos> $A", None, [bos])
    made = PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token="<bos>", eos_token=eos, pad_token="<pad>"
    )
    made.chat_template = template
    return made

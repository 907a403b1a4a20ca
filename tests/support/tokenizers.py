"""Tokenizers for tests of chat templates: byte-level, with special tokens, in memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

SPECIAL_TOKENS = (
    *("<pad>", "<bos>", "<eos>", "<|im_start|>", "<|im_end|>", "<|eot_id|>", "<end_of_turn>"),
    *("<think>", "</think>", "[INST]", "[/INST]", "<|user|>", "<|assistant|>", "<|end|>"),
)


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


def trl_templates() -> dict[str, str]:
    """The chat templates that the installed TRL ships, by name; those for training apart."""
    from importlib.util import find_spec

    spec = find_spec("trl")
    assert spec is not None and spec.origin is not None
    folder = Path(spec.origin).parent / "chat_templates"
    return {path.stem: path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.jinja"))}

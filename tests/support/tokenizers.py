"""Tokenizers for tests of chat templates: byte-level, with special tokens, in memory."""

from __future__ import annotations

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

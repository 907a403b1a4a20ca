"""A model so small that a test can train it."""

from __future__ import annotations

from pathlib import Path

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

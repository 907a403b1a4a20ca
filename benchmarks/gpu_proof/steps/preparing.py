"""Preparing: a Llama with random weights, a tokenizer of words, and rows of mixed length."""

from __future__ import annotations

import json
from collections.abc import Iterator

from benchmarks.gpu_proof.row import Row
from benchmarks.gpu_proof.scene import MODEL, ROWS, Scene


def run(scene: Scene) -> Iterator[Row]:
    """The files that all other steps use."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    size, folder = scene.size, scene.models / MODEL
    scene.datasets.mkdir()
    with (scene.datasets / ROWS).open("w") as file:
        for row in size.token_rows():
            text = " ".join(f"w{number}" for number in row)
            file.write(json.dumps({"text": text}) + "\n")
    names = ["<pad>", "<eos>", "<unk>"]
    names += [f"w{number}" for number in range(len(names), size.model["vocab_size"])]
    vocabulary = {name: number for number, name in enumerate(names)}
    words = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    PreTrainedTokenizerFast(
        tokenizer_object=words, eos_token="<eos>", pad_token="<pad>", unk_token="<unk>"
    ).save_pretrained(folder)
    torch.manual_seed(0)
    with torch.device("cuda" if size.on_gpu else "cpu"):
        config = LlamaConfig(**size.model, bos_token_id=None, eos_token_id=1, pad_token_id=0)
        model = LlamaForCausalLM(config).to(torch.bfloat16 if size.on_gpu else torch.float32)
    model.save_pretrained(folder)
    yield Row(
        "model", model.num_parameters() / 1e6, "M parameters", note=f"torch {torch.__version__}"
    )

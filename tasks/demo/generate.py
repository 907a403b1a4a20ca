"""Generation of text with one or more model folders, greedily.

They are whole models, or PEFT adapters of the first of them.

    python -m tasks.demo.generate --model models/tiny-llama --model jobs/demo/model \
        --prompt "def add(a, b):" [--max-new-tokens 60] [--json]

The prompt becomes one user message if the tokenizer has a chat template. Several ``--model``
share one import of torch. ``--json`` prints a list of {"model", "text"}.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging

DEFAULT_NEW_TOKENS = 60


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--model", type=Path, action="append", required=True, help="a folder")
    parser.add_argument("--prompt", required=True)
    parser.add_argument("--max-new-tokens", type=int, default=DEFAULT_NEW_TOKENS)
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args()
    logging.disable_progress_bar()
    made = [
        {"model": str(folder), "text": generate(folder, arguments.model[0], arguments)}
        for folder in arguments.model
    ]
    if arguments.json:
        print(json.dumps(made, ensure_ascii=False))
        return
    for one in made:
        print(f"── {one['model']}\n{one['text']}\n")


def generate(folder: Path, base: Path, arguments: argparse.Namespace) -> str:
    """What the model in ``folder`` says, or the adapter of ``base`` there."""
    prompt = arguments.prompt
    tokenizer = AutoTokenizer.from_pretrained(folder)
    is_adapter = (folder / "adapter_config.json").exists()
    model = AutoModelForCausalLM.from_pretrained(base if is_adapter else folder)
    if is_adapter:
        model = PeftModel.from_pretrained(model, folder)
    model.eval()
    if tokenizer.chat_template:
        text = tokenizer.apply_chat_template(
            [{"role": "user", "content": prompt}], tokenize=False, add_generation_prompt=True
        )
        inputs = tokenizer(text, add_special_tokens=False, return_tensors="pt")
    else:
        inputs = tokenizer(prompt, return_tensors="pt")
    with torch.inference_mode():
        output = model.generate(
            input_ids=inputs["input_ids"],
            attention_mask=inputs["attention_mask"],
            max_new_tokens=arguments.max_new_tokens,
            do_sample=False,
            repetition_penalty=1.3,  # a small model repeats itself
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    new_tokens = output[0, inputs["input_ids"].shape[1] :]
    return str(tokenizer.decode(new_tokens, skip_special_tokens=True)).strip()


if __name__ == "__main__":
    main()

"""Plain recipe: TRL's trainer, fp16 with every row padded to the full length.

In a process of its own: ``python -m benchmarks.gpu_proof.steps.plain_recipe WORK full|LoRA`` prints
its rate as JSON, real tokens without padding.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.gpu_proof.scene import MODEL, ROWS, Scene
from benchmarks.gpu_proof.sizes import Size, size_here


def arguments(size: Size) -> dict[str, Any]:
    """Of ``trl.SFTConfig``."""
    return {
        "max_length": size.length,
        "pad_to_multiple_of": size.length,
        "per_device_train_batch_size": size.batch,
        "max_steps": size.steps,
        "learning_rate": 1e-5,
        "optim": "adamw_torch",
        "gradient_checkpointing": False,
        "fp16": size.on_gpu,
        "bf16": False,
        "use_cpu": not size.on_gpu,
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
    }


def train(scene: Scene, kind: str) -> float:
    """Real tokens per second after the warm-up."""
    import datasets
    import torch
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
    from trl import SFTConfig, SFTTrainer

    size, folder = scene.size, scene.models / MODEL
    seen: list[tuple[float, float]] = []

    class Clock(TrainerCallback):  # type: ignore[misc]  # transformers is not type-checked here
        def on_log(self, *_: Any, logs: Mapping[str, Any] | None = None, **__: Any) -> None:
            if size.on_gpu:
                torch.cuda.synchronize()
            if logs and "num_tokens" in logs:
                seen.append((time.monotonic(), logs["num_tokens"]))

    lora = LoraConfig(r=16, lora_alpha=32, lora_dropout=0.05, target_modules="all-linear")
    trainer = SFTTrainer(
        model=AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32),
        processing_class=AutoTokenizer.from_pretrained(folder),
        args=SFTConfig(output_dir=str(scene.work / "plain"), **arguments(size)),
        train_dataset=datasets.load_dataset(
            "json", data_files=str(scene.datasets / ROWS), split="train"
        ),
        peft_config=lora if kind == "LoRA" else None,
        callbacks=[Clock()],
    )
    trainer.train()
    (began, before), (ended, after) = seen[size.warm_up], seen[size.steps - 1]
    return (after - before) / (ended - began)


if __name__ == "__main__":
    print(json.dumps(train(Scene(Path(sys.argv[1]), size_here()), sys.argv[2])))

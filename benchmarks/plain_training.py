"""Script with the stock trainer, from nothing: what a plain worker does for a job.

    python benchmarks/plain_training.py SPEC.json
    python benchmarks/plain_training.py --imported    # a spec's path per line of its input

The file holds ``model``, ``dataset`` (JSONL), ``output``, ``arguments`` (of ``trl.SFTConfig``),
``steps_file`` and optionally ``resume`` (a checkpoint folder) and ``print_lines_per_s``. Each end
of an optimizer step is one line ``<monotonic s> <step>`` in ``steps_file``, as the hook of the
other arm writes it. It is the baseline of the benchmarks, so it does nothing else. With
``--imported`` it imports first and forks for each spec: the work alone, without the imports.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import datasets
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
from trl import SFTConfig, SFTTrainer


class NoteSteps(TrainerCallback):
    """Writes when each step ended, and prints at a rate where asked."""

    def __init__(self, path: str, lines_per_s: float) -> None:
        self._out = Path(path).open("a", buffering=1)  # noqa: SIM115 - until the process ends
        self._lines_per_s = lines_per_s
        self._printed_to = time.monotonic()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        now = time.monotonic()
        self._out.write(f"{now} {state.global_step}\n")
        since = min(now - self._printed_to, 0.25)  # it may have been stopped meanwhile
        for number in range(int(since * self._lines_per_s)):
            print(f"step {state.global_step}: line {number} of a training that talks a lot")
            self._printed_to = now


def train(spec: dict[str, Any], callbacks: Sequence[TrainerCallback] = ()) -> None:
    torch.set_num_threads(1)
    trainer = SFTTrainer(
        model=AutoModelForCausalLM.from_pretrained(spec["model"]),
        processing_class=AutoTokenizer.from_pretrained(spec["model"]),
        args=SFTConfig(output_dir=spec["output"], **spec["arguments"]),
        train_dataset=datasets.load_dataset("json", data_files=spec["dataset"], split="train"),
        callbacks=[NoteSteps(spec["steps_file"], spec.get("print_lines_per_s", 0)), *callbacks],
    )
    trainer.train(resume_from_checkpoint=spec.get("resume"))


def serve() -> None:
    print("imported", flush=True)
    for path in sys.stdin:
        if (child := os.fork()) == 0:
            spec = json.loads(Path(path.strip()).read_text())
            with Path(spec["steps_file"]).with_name("output.txt").open("w") as sys.stdout:
                train(spec)
            os._exit(0)
        os.waitpid(child, 0)


if __name__ == "__main__":
    serve() if sys.argv[1] == "--imported" else train(json.loads(Path(sys.argv[1]).read_text()))

"""Jobs that go on from another's result: an adapter trained on, below a new one, or merged."""

from __future__ import annotations

import copy
import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.support.models import load_adapter
from tests.support.training import Preloaded, Run, run_training, write_jsonl
from trainyard.contract.errors import ErrorKind

SUMS = [{"question": f"What is {n} plus 1?", "answer": f"{n + 1}."} for n in range(8)]
PAIRS = [{"prompt": f"{n}+1=", "chosen": f"{n + 1}", "rejected": f"{n}" * 2} for n in range(4)]
LORA = {"use_lora": True, "lora_config": {"r": 4, "dropout": 0.0}}
DPO = {"method": "dpo", "beta": 0.2, "lr_scheduler_type": "constant", "adam_epsilon": 1e-3}
STEPS, LEARNING_RATE = 3, 0.01


class Yard:
    """Runs jobs by their id, each once."""

    def __init__(self, home: Path, models: Path, preloaded: Preloaded) -> None:
        self.home, self.models, self.preloaded = home, models, preloaded
        self.runs: dict[str, Run] = {}

    def run(
        self, job_id: str, training: Mapping[str, Any], model: str = "tiny", **lora: Any
    ) -> Run:
        if job_id not in self.runs:
            pairs = training.get("method") == "dpo"
            known = {"max_steps": STEPS, "batch_size": 4, "learning_rate": LEARNING_RATE}
            config = {"model": {"name": model}, "training": {**known, "save_steps": 2, **training}}
            request = {
                "execution_id": job_id,
                "dataset_path": "pairs.jsonl" if pairs else "sums.jsonl",
                "config": {**config, **lora},
            }
            self.runs[job_id] = run_training(
                self.home, request, models=self.models, preloaded=self.preloaded
            )
        return self.runs[job_id]

    def completed(self, *arguments: Any, **lora: Any) -> Run:
        run = self.run(*arguments, **lora)
        assert run.outcome.outcome == "completed", run.log
        assert "The result is verified" in run.log
        return run


@pytest.fixture(scope="module")
def yard(tmp_path_factory: pytest.TempPathFactory, models: Path, preloaded: Preloaded) -> Yard:
    """With an adapter that ``sft`` has made."""
    home = tmp_path_factory.mktemp("home")
    write_jsonl(home / "datasets" / "sums.jsonl", SUMS)
    write_jsonl(home / "datasets" / "pairs.jsonl", PAIRS)
    yard = Yard(home, models, preloaded)
    yard.completed("sft", LORA)
    return yard


def card_of(run: Run) -> str:
    return (run.job_dir / "model" / "README.md").read_text()


def adapter_of(run: Run) -> dict[str, Any]:
    said: dict[str, Any] = json.loads((run.job_dir / "model" / "adapter_config.json").read_bytes())
    return said


def dpo_loss(model: Any, reference: Any, tokenizer: Any) -> Any:
    """Eq. 7 of arXiv:2305.18290, row by row."""
    import torch

    def log_prob(of: Any, pair: Mapping[str, str], name: str) -> Any:
        prompt = tokenizer(pair["prompt"])["input_ids"]
        answer = [*tokenizer(pair[name])["input_ids"], tokenizer.eos_token_id]
        found = of(input_ids=torch.tensor([prompt + answer])).logits[0, len(prompt) - 1 : -1]
        return found.log_softmax(-1)[torch.arange(len(answer)), torch.tensor(answer)].sum()

    margins = [
        sum(
            sign * (log_prob(model, pair, name) - log_prob(reference, pair, name).detach())
            for sign, name in ((1, "chosen"), (-1, "rejected"))
        )
        for pair in PAIRS
    ]
    return -torch.nn.functional.logsigmoid(0.2 * torch.stack(margins)).mean()


def test_an_adapter_is_trained_on_as_plain_peft_code_would(yard: Yard) -> None:
    import torch
    from peft import PeftModel, get_peft_model_state_dict
    from safetensors.torch import load_file
    from transformers import AutoModelForCausalLM, AutoTokenizer

    run = yard.completed("dpo", {**DPO, "use_lora": True}, "job:sft", lora="continue")
    start = yard.runs["sft"].job_dir / "model"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # PEFT uses an old name of transformers
        base = AutoModelForCausalLM.from_pretrained(yard.models / "tiny")
        model = PeftModel.from_pretrained(base, start, is_trainable=True)
    reference = copy.deepcopy(model)
    tokenizer = AutoTokenizer.from_pretrained(start)
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=LEARNING_RATE, eps=1e-3, weight_decay=0.0)
    for _ in range(STEPS):
        optimizer.zero_grad()
        dpo_loss(model, reference, tokenizer).backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
    found = load_file(run.job_dir / "model" / "adapter_model.safetensors")
    before = load_file(start / "adapter_model.safetensors")
    meant = get_peft_model_state_dict(model, save_embedding_layers=False)
    assert found.keys() == meant.keys()
    for name, weight in found.items():
        torch.testing.assert_close(weight, meant[name], rtol=1e-3, atol=1e-5)
    assert max(float((found[name] - before[name]).abs().max()) for name in found) > 0.001
    assert "what it compares with stands still" in run.log


def test_it_is_an_adapter_of_the_first_base_model_and_says_where_it_comes_from(yard: Yard) -> None:
    run = yard.completed("dpo", {**DPO, "use_lora": True}, "job:sft", lora="continue")
    assert (adapter_of(run)["base_model_name_or_path"], adapter_of(run)["r"]) == ("tiny", 4)
    assert card_of(run).startswith('---\nbase_model: "tiny"\n')
    assert "It goes on from `job:sft` (`sft`, a LoRA adapter), of `tiny`." in card_of(run)
    folders = [run.job_dir / "model", run.job_dir / "checkpoints" / "checkpoint-2"]
    assert not [path for folder in folders for path in folder.iterdir() if path.is_dir()]


def test_a_checkpoint_is_gone_on_from_and_the_card_tells_all_before(yard: Yard) -> None:
    training = {"use_lora": True, "max_steps": 1}
    run = yard.completed("later", training, "job:sft@checkpoint-2", lora="continue")
    assert adapter_of(run)["base_model_name_or_path"] == "tiny"
    again = yard.completed("further", training, "job:later", lora="continue")
    said = "It goes on from `job:later` (`sft`, a LoRA adapter), which went on from "
    assert said + "`job:sft@checkpoint-2` (`sft`, a LoRA adapter), of `tiny`." in card_of(again)


def test_a_new_adapter_on_a_merged_one_is_one_adapter_of_the_base_model(yard: Yard) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    training = {"use_lora": True, "lora_config": {"r": 2, "adapter": "new"}, "merge_adapter": True}
    run = yard.completed("new", training, "job:sft")
    assert (adapter_of(run)["base_model_name_or_path"], adapter_of(run)["r"]) == ("tiny", 6)
    folder = run.job_dir / "model"
    merged = AutoModelForCausalLM.from_pretrained(folder / "merged")
    ids = torch.arange(2, 30)[None]
    with torch.no_grad():
        apart = load_adapter(yard.models / "tiny", folder)(ids).logits
        torch.testing.assert_close(merged(ids).logits, apart, rtol=1e-4, atol=1e-4)
    checkpoint = yard.run("no", {"use_lora": True}, "job:new@checkpoint-2", lora="continue")
    assert "Name the job's result, job:new" in checkpoint.outcome.model_dump_json()


def test_all_weights_of_an_adapters_model_are_trained(yard: Yard) -> None:
    run = yard.completed("whole", {**DPO, "max_steps": 1}, "job:sft")
    assert not (run.job_dir / "model" / "adapter_config.json").exists()
    assert "The adapter of job:sft is merged with its base model tiny" in run.log
    on_top = yard.completed("on-top", {**LORA, "max_steps": 1}, "job:whole")
    assert adapter_of(on_top)["base_model_name_or_path"] == "job:whole"
    assert card_of(on_top).startswith('---\nbase_model: "tiny"\n')


@pytest.mark.parametrize(
    ("job_id", "training", "model", "lora", "said"),
    [
        ("unsaid", LORA, "job:sft", {}, "it is not said what becomes of it"),
        ("no-adapter", {"use_lora": True}, "tiny", {"lora": "continue"}, "is a whole model"),
    ],
)
def test_what_becomes_of_an_adapter_is_not_guessed(
    job_id: str, training: Any, model: str, lora: Any, said: str, yard: Yard
) -> None:
    error = yard.run(job_id, training, model, **lora).outcome.error
    assert error is not None
    assert (error.kind, said in error.message) == (ErrorKind.CONFIGURATION, True)

"""Exports: a merged adapter that answers as the adapter does, and Ollama's file beside it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer

from tasks.errors import ModelError
from tasks.exports import write as exports
from tasks.results.loading import how_to_ask
from tests.support.models import run_card
from tests.support.requests import request_body
from trainyard.contract.events import TrainingSpec
from trainyard.contract.generation.messages import AskedOfJob, GenerateBody, GenerationSpec

pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing:FutureWarning")


_CARD = f"""---
base_model: "tiny"
library_name: peft
---

# mine

as a LoRA adapter

## How to load it

`PeftModel.from_pretrained(base, ".")`

## How to ask it

{how_to_ask(chats=False)}

## Settings
"""


@pytest.fixture
def spec(tmp_path: Path, models: Path) -> GenerationSpec:
    """A job whose result is an adapter that changes the model."""
    job = tmp_path / "jobs" / "j"
    torch.manual_seed(1)
    base = AutoModelForCausalLM.from_pretrained(models / "tiny")
    adapter = get_peft_model(
        base, LoraConfig(r=2, init_lora_weights=False, target_modules=["q_proj"])
    )
    adapter.save_pretrained(job / "model")
    (job / "model" / "README.md").write_text(_CARD)
    body = request_body("j")
    body["config"] = {"model": {"name": "tiny"}, "training": {"use_lora": True}}
    (job / "request.json").write_text(json.dumps(body))
    told = TrainingSpec(
        job_id="j",
        attempt=1,
        slot="",
        job_dir=str(job),
        cache_dir=str(tmp_path),
        dataset_roots=[],
        model_roots=[str(models)],
    )
    return GenerationSpec(
        asked=AskedOfJob(job_id="j", attempt=1, question=GenerateBody(prompt="-")), job=told
    )


def test_a_merged_adapter_stands_by_itself(
    spec: GenerationSpec, tmp_path: Path, models: Path
) -> None:
    to = tmp_path / "exported"
    exports.write(spec, to, ollama=True)
    ids = torch.tensor([[5, 6, 7]])
    with torch.no_grad():
        merged = AutoModelForCausalLM.from_pretrained(to)(ids).logits
        base = AutoModelForCausalLM.from_pretrained(models / "tiny")(ids).logits
    assert not torch.allclose(merged, base, atol=1e-3)
    assert [path.name for path in tmp_path.iterdir() if "partial" in path.name] == []
    tokenizer = AutoTokenizer.from_pretrained(to)
    lines = (to / "Modelfile").read_text()
    asked = tokenizer.apply_chat_template(
        [{"role": "user", "content": "{{ .Prompt }}"}], tokenize=False, add_generation_prompt=True
    )
    assert lines.startswith('FROM .\nTEMPLATE """')
    assert asked.removeprefix(tokenizer.bos_token or "") + "{{ end }}{{ .Response }}" in lines
    assert "{{ if .System }}" in lines
    assert f'PARAMETER stop """{tokenizer.eos_token}"""' in lines


def test_the_card_of_an_export_is_that_of_a_whole_model(
    spec: GenerationSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exports.write(spec, tmp_path / "exported", ollama=False)
    card = (tmp_path / "exported" / "README.md").read_text()
    assert "\nlibrary_name: transformers\nbase_model_relation: finetune\n---\n" in card
    assert "# mine\n\nThis is the whole model, " in card
    assert "peft" not in card.replace("without PEFT", "").casefold()
    assert card.endswith("\n## Settings\n")
    made = run_card(tmp_path / "exported", monkeypatch)
    assert made["model"](torch.tensor([[5, 6, 7]])).logits.isfinite().all()
    assert made["answer"].shape[1] > made["asked"]["input_ids"].shape[1]


def test_every_file_of_an_export_has_the_rights_that_the_umask_leaves(
    spec: GenerationSpec, tmp_path: Path
) -> None:
    before = os.umask(0o027)
    try:
        exports.write(spec, tmp_path / "exported", ollama=True)
    finally:
        os.umask(before)
    assert _rights(tmp_path / "exported") == {0o640}
    assert (tmp_path / "exported").stat().st_mode & 0o777 == 0o750


def test_a_copy_beside_the_adapter_has_the_adapters_rights(spec: GenerationSpec) -> None:
    model = Path(spec.job.job_dir) / "model"
    for path in model.iterdir():
        path.chmod(0o600)
    exports.write(spec, model / "merged", ollama=False)
    assert _rights(model) == {0o600}


def _rights(folder: Path) -> set[int]:
    return {path.stat().st_mode & 0o777 for path in folder.rglob("*") if path.is_file()}


def test_a_merge_that_answers_otherwise_is_refused(
    spec: GenerationSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exports, "ROUGH", -1.0)
    with pytest.raises(ModelError, match="the adapter answers otherwise"):
        exports.write(spec, tmp_path / "exported", ollama=False)
    assert not list(tmp_path.glob("*exported*"))

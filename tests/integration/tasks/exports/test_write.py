"""Exports: a merged adapter that answers as the adapter does, and Ollama's file beside it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer

from tasks.errors import ModelError
from tasks.exports import write as exports
from tests.support.requests import request_body
from trainyard.contract.events import TrainingSpec
from trainyard.contract.generation.messages import AskedOfJob, GenerateBody, GenerationSpec

pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing:FutureWarning")


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
    (job / "model" / "README.md").write_text("the card")
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
    assert (to / "README.md").read_text() == "the card"
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


def test_a_merge_that_answers_otherwise_is_refused(
    spec: GenerationSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exports, "ROUGH", -1.0)
    with pytest.raises(ModelError, match="the adapter answers otherwise"):
        exports.write(spec, tmp_path / "exported", ollama=False)
    assert not list(tmp_path.glob("*exported*"))

"""An adapter that is gone on from: what of it is taken, and what is refused before it acts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from transformers import AutoModelForCausalLM

from tasks.errors import ConfigurationError, ModelError
from tasks.models.adapter import continued, joinable, merged
from tasks.models.origin import Places, find_origin
from tests.support.models import make_tiny_model
from trainyard.contract.config import ModelConfig

pytestmark = [
    pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing:FutureWarning"),
    pytest.mark.filterwarnings("ignore:Found missing adapter keys:UserWarning"),
    pytest.mark.filterwarnings("ignore:Model has `tie_word_embeddings=True`:UserWarning"),
]


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model ``tiny``, and adapters of it in a folder beside it."""
    root = tmp_path_factory.mktemp("models")
    make_tiny_model(root / "tiny", hidden_size=16)
    save(root, "plain")
    save(root, "of-the-head", target_modules=["embed_tokens"])
    save(root, "biases", bias="all")
    return root


def save(root: Path, name: str, **settings: Any) -> None:
    known = {"r": 2, "target_modules": ["q_proj"], "task_type": "CAUSAL_LM", **settings}
    model = AutoModelForCausalLM.from_pretrained(root / "tiny")
    peft.get_peft_model(model, peft.LoraConfig(**known)).save_pretrained(
        root / name, save_embedding_layers=False
    )
    change(root / name, base_model_name_or_path="tiny")


def change(folder: Path, **settings: Any) -> None:
    path = folder / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_bytes()), **settings}))


def copy(roots: Path, to: Path, name: str = "plain") -> Path:
    to.mkdir()
    for path in (roots / name).iterdir():
        (to / path.name).write_bytes(path.read_bytes())
    return to


def base(roots: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(roots / "tiny")


def test_its_weights_alone_are_trained_on(roots: Path) -> None:
    model = continued(base(roots), roots / "plain", "plain")
    trained = [name for name, weight in model.named_parameters() if weight.requires_grad]
    assert trained and all(".lora_" in name for name in trained)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        # PEFT imports the module that is named here.
        ({"megatron_config": {"a": 1}, "megatron_core": "antigravity"}, "megatron_config"),
        ({"layer_replication": [[0, 1]]}, "layer_replication"),
        ({"trainable_token_indices": [1]}, "trainable_token_indices"),
        ({"a_setting_of_tomorrow": 1}, "a_setting_of_tomorrow"),
        ({"peft_type": "IA3"}, "of the kind IA3"),
        ({"task_type": "SEQ_CLS"}, "for SEQ_CLS"),
        ({"r": "many"}, "plain"),
        ({"target_modules": ["k_proj"]}, "not of this base model|cannot be loaded"),
        ({"r": 4}, "cannot be loaded onto its base model"),
    ],
)
def test_what_is_not_known_of_it_is_refused(
    roots: Path, tmp_path: Path, settings: dict[str, Any], said: str
) -> None:
    folder = copy(roots, tmp_path / "a")
    change(folder, **settings)
    with pytest.raises(ModelError, match=said):
        continued(base(roots), folder, "plain")


def test_pickled_weights_are_refused(roots: Path, tmp_path: Path) -> None:
    folder = copy(roots, tmp_path / "a")
    (folder / "adapter_model.safetensors").rename(folder / "adapter_model.bin")
    with pytest.raises(ModelError, match="pickled weights are refused"):
        continued(base(roots), folder, "a")


def test_embeddings_that_are_the_head_too_are_not_merged(roots: Path) -> None:
    with pytest.raises(ConfigurationError, match="adapts embeddings that are the model's head too"):
        merged(base(roots), roots / "of-the-head", "a")


def test_what_is_no_plain_sum_has_no_new_one_on_top(roots: Path) -> None:
    joinable(roots / "plain", "plain")
    with pytest.raises(ConfigurationError, match="has bias: it and a new one"):
        joinable(roots / "biases", "biases")


def test_merged_weights_are_trained_as_before(roots: Path) -> None:
    model = base(roots)
    model.model.embed_tokens.weight.requires_grad_(False)
    whole = merged(model, roots / "plain", "plain")
    frozen = {name for name, weight in whole.named_parameters() if not weight.requires_grad}
    assert frozen == {"model.embed_tokens.weight"}
    assert torch.isfinite(whole.lm_head.weight).all()


def places(roots: Path, jobs: Path) -> Places:
    return Places([str(roots)], jobs)


def test_the_base_model_is_looked_up_as_a_requests_would_be(roots: Path, tmp_path: Path) -> None:
    origin = find_origin(ModelConfig(name="plain"), places(roots, tmp_path))
    assert (origin.model, origin.adapter) == (roots / "tiny", roots / "plain")
    assert (origin.base.name, origin.tokenizer) == ("tiny", roots / "tiny")
    own = tmp_path / "own"
    own.mkdir()
    for named, said in (
        (str(tmp_path / "elsewhere"), "lies outside of the folders"),
        ("../tiny", "lies outside of the folders"),
        ("own", "is an adapter of an adapter"),
        (None, "names no base model"),
    ):
        folder = copy(roots, own / f"a{len(list(own.iterdir()))}")
        change(folder, base_model_name_or_path=named)
        root = Places([str(own), str(roots)], tmp_path)
        if named == "own":
            change(folder, base_model_name_or_path="plain")
        with pytest.raises(ModelError, match=said):
            find_origin(ModelConfig(name=folder.name), root)


def test_a_jobs_result_is_its_own_folder_and_nothing_beyond(roots: Path, tmp_path: Path) -> None:
    for job in ("good", "linked", "leads-out"):
        (tmp_path / job).mkdir()
    copy(roots, tmp_path / "good" / "model", "tiny")
    (tmp_path / "linked" / "model").symlink_to(roots / "tiny")
    copy(roots, tmp_path / "leads-out" / "model", "tiny")
    (tmp_path / "leads-out" / "model" / "more").symlink_to(roots / "plain")
    found = find_origin(ModelConfig(name="job:good"), places(roots, tmp_path))
    assert (found.model, found.base.name) == (tmp_path / "good" / "model", "job:good")
    for job, said in (
        ("none", "has no result on this host"),
        ("good@checkpoints/checkpoint-4", "`trainyard checkpoints good` lists those"),
        ("linked", "has no result on this host"),
        ("leads-out", "has a link to outside"),
    ):
        with pytest.raises(ModelError, match=said):
            find_origin(ModelConfig(name=f"job:{job}"), places(roots, tmp_path))

"""Rules between fields: each that is broken is named by its path, at admission."""

from __future__ import annotations

from typing import Any, cast

import pytest

from backend_bridge.intake.admission import Admission
from tests.support.requests import request_body, start_request
from trainyard.contract import rules
from trainyard.contract.config import JobConfig, TrainingConfig
from trainyard.contract.request import RequestInvalid

REWARDED = {"method": "rlhf", "rlhf": {"reward_functions": ["answer"]}}
QLORA = {"use_lora": True, "quantization": {"load_in_4bit": True}}


def problems(training: dict[str, Any], *, gpu: bool | None = None) -> dict[str, str]:
    config = JobConfig.model_validate({"model": {"name": "m"}, "training": training})
    return {
        p.path.removeprefix("config.training."): p.message for p in rules.problems(config, gpu=gpu)
    }


@pytest.mark.parametrize("method", ["sft", "cpt", "dpo", "orpo", "simpo", "kto"])
def test_methods_without_needs_of_their_own_are_admitted(method: str) -> None:
    assert problems({"method": method, "use_lora": True, "quantization": {}}, gpu=False) == {}


FSDP = {"distributed": {"processes": 2, "strategy": "fsdp"}}
LORA = {"use_lora": True}


@pytest.mark.parametrize(
    ("training", "bias", "said"),
    [
        ({**FSDP, **LORA}, "all", "send the strategy ddp"),
        ({**FSDP, **LORA}, "lora_only", "send the strategy ddp"),
        ({**FSDP, **LORA}, "none", None),
        (FSDP, "all", None),
        ({**LORA, "distributed": {"processes": 2, "strategy": "ddp"}}, "all", None),
        ({**LORA, "method": "dpo"}, "all", "the base model"),
        ({**LORA, **REWARDED}, "lora_only", "the base model"),
        ({**LORA, "method": "dpo"}, "none", None),
        ({"method": "dpo"}, "all", None),
        ({**LORA, "method": "sft"}, "all", None),
    ],
)
def test_biases_are_neither_sharded_nor_trained_below_a_comparison(
    training: dict[str, Any], bias: str, said: str | None
) -> None:
    body = {"model": {"name": "m"}, "training": training, "lora": {"bias": bias}}
    found = rules.problems(JobConfig.model_validate(body), gpu=None)
    assert [problem.path for problem in found] == ["config.lora.bias"] * (said is not None)
    assert all(str(said) in problem.message for problem in found)


@pytest.mark.parametrize(("dropout", "refused"), [(0, False), (0.05, True)])
def test_an_adapter_of_fused_weights_has_no_dropout(dropout: float, refused: bool) -> None:
    body = {
        "model": {"name": "m"},
        "training": {"use_lora": True},
        "lora": {"target_parameters": ["experts.down_proj"], "dropout": dropout},
    }
    found = rules.problems(JobConfig.model_validate(body), gpu=None)
    assert [problem.path for problem in found] == ["config.lora.target_parameters"] * refused


@pytest.mark.parametrize(
    ("more", "path", "said"),
    [
        ({"distributed": {"strategy": "fsdp"}}, "distributed.strategy", "of 2 or more"),
        (REWARDED, "distributed", "rlhf samples answers, which fsdp does not: send strategy 'ddp'"),
        (QLORA, "distributed", "fsdp shares no quantised model: send strategy 'ddp'"),
    ],
)
def test_what_cannot_be_shared_is_refused_with_what_to_send(
    more: dict[str, Any], path: str, said: str
) -> None:
    found = problems({"distributed": {"processes": 2, "strategy": "fsdp"}, **more})
    assert list(found) == [path]
    assert said in found[path]
    assert problems({**more, "distributed": {"processes": 2}}) == {}


def test_bitsandbytes_is_looked_for_where_there_is_a_gpu() -> None:
    config = JobConfig.model_validate({"model": {"name": "m"}, "training": QLORA})
    for installed, found in ((False, ["needs bitsandbytes"]), (True, []), (None, [])):
        refused = rules.problems(config, gpu=True, bitsandbytes=installed)
        assert [problem.message.partition(",")[0] for problem in refused] == found


def test_rlhf_without_a_reward_is_told_what_to_use_instead() -> None:
    for training in ({"method": "rlhf"}, {"method": "rlhf", "rlhf": {}}):
        found = problems(training)
        assert set(found) == {"rlhf"}
        assert "reward_model" in found["rlhf"]
        assert "dpo, orpo, simpo or reward_model" in found["rlhf"]
    assert problems(REWARDED) == {}


@pytest.mark.parametrize(
    ("more", "path"),
    [
        ({"batch_size": 3}, "rlhf.num_generations"),
        ({"method": "grpo"}, None),
        ({"method": "grpo", "rlhf": {"reward_functions": ["answer"], "algorithm": "rloo"}},
         "rlhf.algorithm"),
        ({"batch_size": 3, "gradient_accumulation_steps": 4}, None),
        ({"max_length": 256}, "rlhf.max_completion_length"),
    ],
)  # fmt: skip
def test_rlhfs_groups_of_answers_have_room(more: dict[str, Any], path: str | None) -> None:
    assert list(problems({**REWARDED, **more})) == ([path] if path else [])


@pytest.mark.parametrize("gpu", [True, None])
def test_qlora_is_admitted_where_a_gpu_is_or_may_be(gpu: bool | None) -> None:
    assert problems(QLORA, gpu=gpu) == {}


def test_qlora_is_refused_where_no_slot_has_a_gpu() -> None:
    assert "CUDA GPU" in problems(QLORA, gpu=False)["quantization.load_in_4bit"]
    whole = {"quantization": {"load_in_8bit": True}}
    assert "needs use_lora" in problems(whole, gpu=True)["quantization.load_in_8bit"]


def test_an_algorithm_that_is_gone_is_named() -> None:
    said = r"config\.training\.rlhf\.algorithm: the installed TRL has no PPO"
    with pytest.raises(RequestInvalid, match=said):
        start_request(training={"rlhf": {"algorithm": "ppo"}})


def test_admission_asks_the_slots_for_a_gpu_before_it_stores_anything() -> None:
    nothing = cast(Any, None)
    admission = Admission(nothing, nothing, slots=lambda: 1, max_queued=None, gpu=lambda: False)
    with pytest.raises(RequestInvalid, match="and there is none"):
        admission.admit(request_body(training=QLORA))


@pytest.mark.parametrize(
    ("config", "path", "said"),
    [
        ({"training": {"loss_type": "ipo"}}, "training.loss_type", "the loss of sft is its own"),
        ({"training": {"method": "dpo", "loss_type": "aot"}}, "training.loss_type", "hinge, ipo"),
        ({"training": {"method": "dpo", "loss_type": "orpo"}}, "training.loss_type",
         "config.training.method"),
        ({"training": {"method": "dpo", "loss_type": "ipo", "label_smoothing_factor": 0.1}},
         "training.label_smoothing_factor", "the loss ipo has none"),
        ({"training": {"method": "dpo", "label_smoothing_factor": 0.5}},
         "training.label_smoothing_factor", "below 0.5"),
        ({"checkpoint_resume": "/c/checkpoint-5"}, "checkpoint_resume", "resume the job that has"),
        ({"training": {"resume_from_checkpoint": True}}, "training.resume_from_checkpoint",
         "begins with its base"),
        ({"model": {"load_in_4bit": True}}, "model.load_in_4bit", "config.training.quantization"),
        ({"training": {"use_dora": True}}, "training.use_dora", "config.lora.use_dora"),
        ({"neftune_noise_alpha": 5}, "neftune_noise_alpha", "config.training.neftune_noise_alpha"),
        ({"model": {"add_tokens": ["<a>"]}}, "model.add_tokens", "config.tokenizer.add_tokens"),
        ({"training": {"use_lora": True, "freeze": ["model"]}}, "training.freeze", "is frozen"),
        ({"training": {"use_lora": True}, "lora": {"use_dora": True, "dropout": 0,
          "target_parameters": ["a"]}}, "lora.use_dora", "is of layers"),
        ({"training": {"use_lora": True, "method": "reward_model"},
          "lora": {"modules_to_save": ["score"]}}, "lora.modules_to_save", "trained whole anyway"),
        ({"training": {"use_lora": True}, "lora": {"adapter": "new", "use_dora": True}},
         "lora.adapter", "or DoRA"),
    ],
)  # fmt: skip
def test_what_would_train_another_model_is_refused_not_ignored(
    config: dict[str, Any], path: str, said: str
) -> None:
    whole = {**config, "model": {"name": "m", **config.get("model", {})}}
    found = rules.problems(start_request(config=whole).config, gpu=None)
    assert [problem.path for problem in found] == [f"config.{path}"]
    assert said in found[0].message


def test_a_field_that_asks_for_nothing_is_not_refused() -> None:
    robust = {"method": "dpo", "loss_type": "robust", "label_smoothing_factor": 0.1}
    assert problems(robust) == problems({"method": "dpo", "label_smoothing_factor": 0.1}) == {}
    assert problems({"loss_type": None, "neftune_noise_alpha": 0, "use_dora": False}) == {}


def test_quantization_in_the_models_section_is_the_trainings() -> None:
    model = {"name": "m", "quantization": {"load_in_4bit": True}}
    request = start_request(model=model, training=LORA)
    assert (request.config.training.quantization, request.ignored) == ({"load_in_4bit": True}, [])


@pytest.mark.parametrize("name", ["eval_strategy", "save_strategy"])
def test_the_best_checkpoint_is_evaluated_and_written(name: str) -> None:
    found = problems({"load_best_model_at_end": True, name: "no"})
    assert f"leave {name} out" in found["load_best_model_at_end"]
    assert problems({"load_best_model_at_end": False, name: "no"}) == {}


@pytest.mark.parametrize(
    ("training", "is_said"),
    [
        ({"eval_steps": 9, "save_steps": 20}, True),
        ({"eval_strategy": "steps", "save_steps": 20}, True),
        ({"eval_steps": 10, "save_steps": 20}, True),
        ({"eval_steps": 20, "save_steps": 20}, False),
        ({"eval_steps": 20, "save_steps": 10}, False),
        ({"eval_steps": 9}, False),
        ({"eval_steps": 9, "save_steps": 20, "load_best_model_at_end": True}, False),
        ({"eval_steps": 9, "save_steps": 20, "save_strategy": "no"}, False),
        ({"save_steps": 20}, False),
    ],
)
def test_evals_without_a_checkpoint(training: dict[str, Any], is_said: bool) -> None:
    said = rules.evals_not_saved(TrainingConfig.model_validate(training))
    assert bool(said) is is_said
    assert not is_said or ("eval_steps" in said and "save_steps" in said)

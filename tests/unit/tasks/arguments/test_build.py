"""The table of settings: complete, valid for the installed versions, nothing dropped silently."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel
from trl import SFTConfig

from tasks.arguments.build import Arguments, choose_max_length
from tasks.arguments.machine import Machine
from tasks.arguments.table import FIXED, RLHF_ARGUMENTS, TABLE
from tasks.errors import ConfigurationError
from tasks.methods.registry import TRAINERS
from tests.support.arguments import CPU, GPU, OLD_GPU, arguments_on
from trainyard.contract.config import JobConfig
from trainyard.contract.methods import METHODS, Method


def arguments(
    training: Mapping[str, Any] | None = None,
    *,
    machine: Machine = CPU,
    has_eval: bool = True,
    **sections: Any,
) -> Arguments:
    return arguments_on(machine, training or {}, has_eval=has_eval, **sections)


FSDP = {"distributed": {"processes": 2, "strategy": "fsdp"}}


def noted(found: Arguments) -> dict[str, str]:
    return {note.path: note.what for note in found.notes}


def leaves(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    sections = {"model", "tokenizer", "training", "lora", "data", "evaluation"}
    for name, field in model.model_fields.items():
        if prefix or name not in sections:
            yield prefix + name
            continue
        for annotation in (field.annotation, *getattr(field.annotation, "__args__", ())):
            if isinstance(annotation, type) and issubclass(annotation, BaseModel):
                yield from leaves(annotation, f"{name}.")


def test_every_field_of_a_request_has_exactly_one_row() -> None:
    paths = [setting.path for setting in TABLE]
    assert sorted(paths) == sorted(leaves(JobConfig))


def test_every_row_says_what_becomes_of_its_setting() -> None:
    for setting in TABLE:
        ways = [setting.argument, setting.used_by, setting.ignored]
        assert sum(bool(way) for way in ways) == 1, setting


OF_TRAINER = [(name, how) for how in METHODS.values() for name in how.trainers]


@pytest.mark.parametrize(("name", "how"), OF_TRAINER)
def test_every_argument_exists_in_the_installed_versions(name: str, how: Method) -> None:
    known = {field.name for field in dataclasses.fields(TRAINERS[name].config)}
    rows = [setting for setting in TABLE if how.name in setting.methods]
    wanted = {setting.argument for setting in rows if setting.argument}
    sampled = set(RLHF_ARGUMENTS.values() if how.samples_answers else ())
    assert wanted | set(FIXED) | set(how.arguments) | sampled <= known


@pytest.mark.parametrize(("name", "how"), OF_TRAINER)
def test_the_installed_version_takes_every_methods_arguments(
    name: str, how: Method, tmp_path: Path
) -> None:
    rlhf = {"algorithm": name, "reward_functions": ["answer"]}
    more = {"rlhf": rlhf} if how.samples_answers else {}
    found = arguments({"method": how.name, **more})
    config = TRAINERS[name].config(**{**found.values, "output_dir": str(tmp_path)})
    for argument, value in found.values.items():
        if argument not in ("output_dir", "report_to", "optim", "max_steps"):
            assert getattr(config, argument) == value, argument


def test_the_installed_trainer_takes_the_defaults(tmp_path: Path) -> None:
    values = {**arguments().values, "output_dir": str(tmp_path)}
    config = SFTConfig(**values)
    assert config.per_device_train_batch_size == 4
    assert config.bf16 is False
    assert config.gradient_checkpointing is False
    assert config.logging_nan_inf_filter is False
    assert config.report_to == []


def test_plain_settings_are_applied() -> None:
    found = arguments(
        {
            "num_epochs": 2,
            "batch_size": 3,
            "eval_batch_size": 5,
            "learning_rate": 1e-3,
            "gradient_accumulation_steps": 7,
            "gradient_checkpointing": True,
            "group_by_length": True,
            "eval_strategy": "steps",
            "eval_steps": 11,
        },
        seed=9,
    )
    expected = {
        "num_train_epochs": 2,
        "per_device_train_batch_size": 3,
        "per_device_eval_batch_size": 5,
        "learning_rate": 1e-3,
        "gradient_accumulation_steps": 7,
        "activation_checkpointing": True,
        "train_sampling_strategy": "group_by_length",
        "eval_strategy": "steps",
        "eval_steps": 11,
        "max_length": 512,
        "max_steps": -1,
        "seed": 9,
        "use_cpu": True,
    }
    assert expected.items() <= found.values.items()
    assert found.notes == ()


def test_warmup_steps_win_over_the_ratio() -> None:
    assert arguments({"warmup_steps": 5, "warmup_ratio": 0.1}).values["warmup_steps"] == 5
    assert arguments({"warmup_ratio": 0.1}).values["warmup_steps"] == 0.1
    assert 0.99 < arguments({"warmup_ratio": 1.0}).values["warmup_steps"] < 1


def test_what_big_gpus_have_is_adjusted_on_a_cpu() -> None:
    found = arguments(
        {
            "bf16": True,
            "optim": "paged_adamw_8bit",
            "dataloader_num_workers": 4,
            "dataloader_prefetch_factor": 2,
            "dataloader_pin_memory": True,
            "use_lora": True,
            "quantization": {},
        },
        model={"name": "m", "torch_dtype": "bfloat16", "device_map": "auto"},
    )
    expected = {
        "bf16": False,
        "fp16": False,
        "optim": "adamw_torch_fused",
        "dataloader_num_workers": 1,
        "dataloader_pin_memory": False,
    }
    assert expected.items() <= found.values.items()
    assert (found.model_dtype, found.quantization) == ("float32", None)
    assert noted(found) == {
        "training.bf16": "adjusted",
        "training.optim": "adjusted",
        "training.dataloader_num_workers": "adjusted",
        "training.dataloader_pin_memory": "ignored",
        "model.torch_dtype": "adjusted",
        "model.device_map": "ignored",
    }


def test_a_gpu_gets_what_was_asked_for() -> None:
    found = arguments(
        {
            "bf16": True,
            "optim": "paged_adamw_8bit",
            "dataloader_num_workers": 4,
            "use_lora": True,
            "quantization": {"load_in_4bit": True},
        },
        machine=GPU,
        model={"name": "m", "torch_dtype": "bfloat16"},
    )
    expected = {"bf16": True, "optim": "paged_adamw_8bit", "dataloader_num_workers": 4}
    assert expected.items() <= found.values.items()
    assert (found.model_dtype, found.quantization) == ("bfloat16", {"load_in_4bit": True})
    assert found.notes == ()


def test_a_gpu_without_bfloat16_trains_in_float16() -> None:
    found = arguments({"bf16": True, "optim": "adamw_bnb_8bit"}, machine=OLD_GPU)
    assert (found.values["bf16"], found.values["fp16"]) == (False, True)
    assert noted(found) == {"training.bf16": "adjusted", "training.optim": "adjusted"}


def test_without_eval_rows_there_is_no_eval() -> None:
    found = arguments(
        {"eval_strategy": "steps", "metric_for_best_model": "eval_loss"}, has_eval=False
    )
    assert found.values["eval_strategy"] == "no"
    assert found.values["metric_for_best_model"] is None
    assert noted(found) == {
        "training.eval_strategy": "adjusted",
        "training.metric_for_best_model": "ignored",
    }


def test_what_belongs_to_another_method_is_named() -> None:
    found = arguments({"method": "dpo", "packing": True, "beta": 0.3, "max_prompt_length": 5})
    assert noted(found) == {"training.packing": "ignored"}
    assert found.values["beta"] == 0.3
    assert arguments({"method": "dpo"}).values["beta"] == 0.1


def test_an_evals_batch_holds_whole_groups_of_answers() -> None:
    rlhf = {"method": "rlhf", "rlhf": {"reward_functions": ["answer"], "num_generations": 4}}
    found = arguments({**rlhf, "batch_size": 6, "gradient_accumulation_steps": 2})
    assert found.values["per_device_eval_batch_size"] == 8
    found = arguments({**rlhf, "eval_batch_size": 3})
    assert found.values["per_device_eval_batch_size"] == 4
    assert noted(found) == {"training.eval_batch_size": "adjusted"}


def test_the_best_checkpoint_is_chosen_by_what_evals_give() -> None:
    def chosen(method: dict[str, Any], metric: str | None) -> tuple[Any, Any, bool]:
        found = arguments({**method, "metric_for_best_model": metric})
        values = found.values
        return values["metric_for_best_model"], values["greater_is_better"], bool(found.notes)

    rlhf = {"method": "rlhf", "rlhf": {"reward_functions": ["answer"]}}
    assert chosen({}, None) == ("eval_loss", False, False)
    assert chosen({}, "loss") == ("eval_loss", False, False)
    assert chosen({}, "perplexity") == ("eval_loss", False, True)
    accuracies = ("eval_rewards/accuracies", True, False)
    assert chosen({"method": "dpo"}, "rewards/accuracies") == accuracies
    assert chosen(rlhf, None) == ("eval_reward", True, False)


def test_a_training_that_is_shared_out_is_told_so() -> None:
    shared = {"use_lora": True, **FSDP}
    assert arguments(shared).values["fsdp"] is True
    with pytest.raises(ConfigurationError, match=r"cannot be trained with .*send the strategy ddp"):
        arguments(shared, lora={"bias": "all"})


def test_reports_go_where_asked_and_where_that_is_installed() -> None:
    found = arguments({"report_to": ["tensorboard", "wandb", "fax", "none"]})
    assert found.values["report_to"] == ["tensorboard"]
    reasons = [note.reason for note in found.notes]
    assert len(reasons) == 2
    assert "wandb is not installed" in reasons[0]
    assert "'fax'" in reasons[1]
    assert arguments(tensorboard={"enabled": True}).values["report_to"] == ["tensorboard"]
    assert arguments().values["report_to"] == []


def test_a_folder_of_a_trackers_name_is_no_tracker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "wandb").mkdir()  # such as that of its own runs, in the working directory
    (tmp_path / "mlflow").mkdir()
    (tmp_path / "mlflow" / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    found = arguments({"report_to": ["wandb", "mlflow"]})
    assert found.values["report_to"] == ["mlflow"]
    assert "wandb is not installed" in str(found.notes[0])
    monkeypatch.setenv("DISABLE_MLFLOW_INTEGRATION", "TRUE")
    assert arguments({"report_to": "mlflow"}).values["report_to"] == []


def test_what_means_nothing_here_is_named() -> None:
    found = arguments(
        {"beta": 0.1, "max_prompt_length": 5},
        data={"strategy": "standard"},
        provider="cloud",
    )
    assert noted(found) == dict.fromkeys(
        ["training.beta", "training.max_prompt_length", "data.strategy", "provider"], "ignored"
    )


@pytest.mark.parametrize(
    ("training", "said"),
    [
        ({"optim": "adam_magic"}, "adam_magic"),
        ({"lr_scheduler_type": "zigzag"}, "zigzag"),
        ({"quantization": {"load_in_4bit": True}}, "use_lora"),
        ({"quantization": {"load_in_8bit": True}, "use_lora": True}, "needs a CUDA GPU"),
        ({"method": "rlhf"}, "needs a reward"),
        ({"distributed": {"strategy": "fsdp"}}, "between processes"),
    ],
)
def test_what_cannot_be_done_is_refused(training: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        arguments(training)


def test_the_length_is_bounded_by_the_models_positions() -> None:
    def chosen(asked: int | None, positions: int | None) -> tuple[int, bool]:
        config = JobConfig.model_validate(
            {"model": {"name": "m"}, "training": {"max_length": asked}}
        )
        length, note = choose_max_length(config, positions)
        return length, note is not None

    assert chosen(256, 512) == (256, False)
    assert chosen(1024, 512) == (512, True)
    assert chosen(None, 512) == (512, False)
    assert chosen(None, None) == (1024, False)


@pytest.mark.parametrize(
    ("training", "sections", "said"),
    [
        ({"early_stopping_patience": 2}, {}, "training.early_stopping_patience"),
        ({"epochs_without_improvement": 2}, {}, "training.epochs_without_improvement"),
        ({"load_best_model_at_end": True}, {}, "training.load_best_model_at_end"),
        ({}, {"lora": {"r": 4}}, "lora.r"),
    ],
)
def test_what_acts_elsewhere_and_has_nothing_to_act_on_is_said(
    training: dict[str, Any], sections: dict[str, Any], said: str
) -> None:
    assert noted(arguments(training, has_eval=False, **sections)) == {said: "ignored"}
    done = {**training, "use_lora": "lora" in sections}
    assert noted(arguments(done, has_eval=True, **sections)) == {}


def test_evals_that_are_switched_off_are_none() -> None:
    training = {"early_stopping_patience": 2, "eval_strategy": "no"}
    assert noted(arguments(training)) == {"training.early_stopping_patience": "ignored"}


def test_what_a_method_fixes_no_setting_overrides(monkeypatch: pytest.MonkeyPatch) -> None:
    how = dataclasses.replace(METHODS["dpo"], arguments={"max_grad_norm": 0.5})
    monkeypatch.setitem(METHODS, "dpo", how)  # type: ignore[arg-type]  # a dict in fact
    found = arguments({"method": "dpo", "max_grad_norm": 2.0})
    assert found.values["max_grad_norm"] == 0.5
    assert noted(found) == {"training.max_grad_norm": "ignored"}
    assert noted(arguments({"method": "dpo"})) == {}

"""Trainers of the methods over tiny models of several architectures, in this process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
from trl import DPOConfig, KTOConfig, SFTConfig

from tasks.methods.kto import UnpairedTrainer
from tasks.methods.orpo import OddsRatioTrainer
from tasks.methods.preference import PreferenceTrainer
from tasks.methods.reference_free import CPOConfig, ORPOConfig
from tasks.methods.simpo import SimpleTrainer
from tasks.methods.supervised import SupervisedTrainer
from trainyard.contract.methods import METHODS

VOCABULARY = 64
_COMMON = {
    "vocab_size": VOCABULARY,
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 8,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
    "bos_token_id": None,
    "eos_token_id": 1,
}
ARCHITECTURES: dict[str, dict[str, Any]] = {
    "llama": {},
    # Says that it takes no count of tokens, so that transformers does not count either.
    "gemma4_text": {"hidden_size_per_layer_input": 0, "vocab_size_per_layer_input": VOCABULARY},
    # Published with a coefficient of 0.9: its auxiliary loss is not to be overlooked.
    "gpt_oss": {
        "num_local_experts": 4,
        "num_experts_per_tok": 2,
        "router_aux_loss_coef": 0.9,
        "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0},
    },
}


def tiny(architecture: str, seed: int = 0, **changes: Any) -> Any:
    """A model of ``architecture`` with weights that make it prefer some tokens to others."""
    config = AutoConfig.for_model(
        architecture, **{**_COMMON, **ARCHITECTURES[architecture], **changes}
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(config)
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.dim() > 1:
                    parameter.add_(0.15 * torch.randn_like(parameter))
    return model.float().eval()


def trainer(
    method: str, model: Any, rows: list[dict[str, Any]], tokenizer: Path, **settings: Any
) -> Any:
    """A trainer of ``method`` over tokenised ``rows``, with plain SGD and no schedule."""
    arguments = {
        "use_cpu": True,
        "bf16": False,
        "activation_checkpointing": False,
        "optim": "sgd",
        "lr_scheduler_type": "constant",
        "learning_rate": 0.1,
        "max_grad_norm": 0.0,
        "num_train_epochs": 1,
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": [],
        "disable_tqdm": True,
        **settings,
    }
    more: dict[str, Any] = {"eval_dataset": Dataset.from_list(rows)}
    if method == "sft":
        made, config = SupervisedTrainer, SFTConfig
        arguments["dataset_kwargs"] = {"skip_prepare_dataset": True}
    elif method == "dpo":
        made, config = PreferenceTrainer, DPOConfig
        more["ref_model"] = tiny(model.config.model_type, seed=1)
    elif method == "kto":
        made, config = UnpairedTrainer, KTOConfig
        arguments |= METHODS[method].arguments
        more["ref_model"] = tiny(model.config.model_type, seed=1)
    elif method == "simpo":
        made, config = SimpleTrainer, CPOConfig
        arguments |= METHODS[method].arguments
    else:
        made, config = OddsRatioTrainer, ORPOConfig
        arguments["remove_unused_columns"] = False
    return made(
        model=model,
        args=config(**arguments),
        train_dataset=Dataset.from_list(rows),
        processing_class=AutoTokenizer.from_pretrained(tokenizer),
        **more,
    )

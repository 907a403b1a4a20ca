"""Loaded model of a job, to be asked: its result, a checkpoint of it, or the model it began with.

Nothing is fetched, and no code that came with a model runs.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import constants
from peft import PeftModel

from tasks.arguments.build import quantization_of
from tasks.errors import ModelError, ModelNotFound
from tasks.methods.parts import Folders, locate
from tasks.models.adapter import WEIGHTS_NAME, merged
from tasks.models.embeddings import positions
from tasks.models.end_tokens import end_tokens
from tasks.models.load import TOKENIZER_FILES, load_config, load_model, load_tokenizer
from tasks.models.origin import ADAPTER_NAME, named_base
from tasks.results.dtype import dtype_of_files
from tasks.runner import read_request
from trainyard.contract.config import JobConfig
from trainyard.contract.generation.messages import GenerationSpec
from trainyard.contract.job_folder import DATA_REPORT, MODEL, checkpoint_path


@dataclass(frozen=True)
class AskedModel:
    """A model that can be asked. ``ends``: the tokens it stops at; ``places``: the tokens of a row
    that it has places for, None if it sets no limit. ``is_chat``: a question goes through the chat
    template, as the rows did; else the model goes on with it. ``began_whole``: its job began with
    no adapter.
    """

    model: Any
    tokenizer: Any
    ends: tuple[int, ...]
    places: int | None
    is_chat: bool
    began_whole: bool = True

    @property
    def holds_base(self) -> bool:
        """Whether the model without its adapter is the base model, bit for bit."""
        adapters = getattr(self.model, "peft_config", {}).values()
        return (
            self.began_whole
            and bool(adapters)
            and all(adapter.bias == "none" for adapter in adapters)
        )


def folder_of(spec: GenerationSpec) -> Path:
    """The folder of the result, or of the checkpoint that is asked for. Raises ModelNotFound."""
    job = Path(spec.job.job_dir)
    named = spec.asked.question.checkpoint
    folder = job / (checkpoint_path(named) or MODEL if named else MODEL)
    if not folder.is_dir() or not folder.resolve().is_relative_to(job.resolve()):
        raise ModelNotFound(
            f"The job {spec.asked.job_id} has no {named or 'trained model'} on this host.",
            f"`trainyard checkpoints {spec.asked.job_id}` lists those that are kept."
            if named
            else f"`trainyard status {spec.asked.job_id}` says where it was trained.",
        )
    return folder


def load(spec: GenerationSpec) -> AskedModel:
    """Load what ``spec`` asks for. Raises ModelError."""
    constants.HF_HUB_OFFLINE = True
    config = read_request(Path(spec.job.job_dir)).config
    if config.training.how.scores_texts:
        raise ModelError(
            f"The model of the job {spec.asked.job_id} gives a text a number, and no text.",
            "Name it as config.training.rlhf.reward_model of another job.",
        )
    chat = _went_through_template(Path(spec.job.job_dir), config)
    own_code = spec.job.model_copy(update={"allow_remote_code": False})
    if spec.asked.question.base:
        base = locate(own_code, config)
        return _asked(_with_origin(base, config), base.tokenizer, base.model, config, is_chat=chat)
    folder = folder_of(spec)
    if not (folder / ADAPTER_NAME).exists():
        tokenizer = folder if _has_tokenizer(folder) else locate(own_code, config).tokenizer
        return _asked(_model(folder, config), tokenizer, folder, config, is_chat=chat)
    if not (folder / WEIGHTS_NAME).is_file():
        raise ModelError(f"The adapter in {folder.name} has no {WEIGHTS_NAME}.")
    lora, is_result = config.lora, not spec.asked.question.checkpoint
    if lora is not None and lora.adapter and is_result:  # what it went on from may be gone
        config = config.model_copy(update={"model": named_base(folder, config.model.name)})
    base = locate(own_code, config)
    # A checkpoint of a new adapter is of the merged model; the result is of both, on the base.
    on_top = lora is not None and lora.adapter == "new" and not is_result
    below = _with_origin(base, config) if on_top else _model(base.model, config)
    model = PeftModel.from_pretrained(below, folder, local_files_only=True)
    tokenizer = folder if _has_tokenizer(folder) else base.tokenizer
    return _asked(model, tokenizer, folder, config, base, is_chat=chat)


def _went_through_template(job_dir: Path, config: JobConfig) -> bool:
    """Whether the rows of the training did; a job of an older version does not say."""
    try:
        said = json.loads((job_dir / DATA_REPORT).read_bytes()).get("chat_template")
    except FileNotFoundError:
        said = None
    return config.training.how.rows != "documents" if said is None else bool(said)


def _with_origin(base: Folders, config: JobConfig) -> Any:
    """The model that the job began with."""
    model = _model(base.model, config)
    return model if base.adapter is None else merged(model, base.adapter, config.model.name)


def _model(folder: Path, config: JobConfig) -> Any:
    load_config(folder, config.model.name, trust_remote_code=False)
    on_gpu = torch.cuda.is_available()
    dtype = dtype_of_files(folder) or "float32"
    if dtype == "float16" and not on_gpu:
        dtype = "float32"  # of float16 not every operation is there on a CPU
    model = load_model(
        folder,
        config,
        dtype=dtype,
        quantization=quantization_of(config.training) if on_gpu else None,
        attention=None,
        trust_remote_code=False,
    )
    return model.to("cuda") if on_gpu and not quantization_of(config.training) else model


def _asked(
    model: Any,
    tokenizer_folder: Path,
    folder: Path,
    config: JobConfig,
    base: Folders | None = None,
    *,
    is_chat: bool,
) -> AskedModel:
    tokenizer = load_tokenizer(tokenizer_folder, config, trust_remote_code=False)
    stops = end_tokens(folder, model.config)
    if base is not None:
        stops |= end_tokens(base.model, model.config)
    return AskedModel(
        model=model.eval(),
        tokenizer=tokenizer,
        ends=tuple(sorted({*stops, tokenizer.eos_token_id})),
        places=positions(model.config),
        is_chat=is_chat,
        began_whole=base is None or base.adapter is None,
    )


def _has_tokenizer(folder: Path) -> bool:
    return any((folder / name).is_file() for name in TOKENIZER_FILES)

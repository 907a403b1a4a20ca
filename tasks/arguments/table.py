"""Table of settings: what a request calls each, and what the installed Trainer calls it.

Every field of the request's ``config`` has a row. Defaults are written out, since the libraries'
own change between versions (TRL's turn bf16 and gradient checkpointing on).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tasks.arguments import adaptation, idle
from tasks.arguments.adaptation import Context
from trainyard.contract.methods import by_method, methods_with, names

DEFAULT_SAVE_STEPS = 500
DEFAULT_CHECKPOINTS_KEPT = 3

Adapt = Callable[[Any, Context], Any]


@dataclass(frozen=True)
class Setting:
    """One row: the request's ``path`` below ``config`` → the Trainer's ``argument``.

    ``adapt(value, context)`` turns the one into the other and may leave a note; if the request
    says nothing, it gets None, or ``default`` applies. Without ``argument`` the setting acts
    elsewhere (``used_by``; ``idle`` says why it does nothing in a job, if so), or nowhere: then
    ``ignored`` says why. ``note`` says in a few words how
    ``adapt`` changes it; ``since`` is the version that first took it.
    """

    path: str
    argument: str | None = None
    default: Any = None
    adapt: Adapt | None = None
    used_by: str = ""
    idle: Callable[[Context], str] | None = None
    ignored: str = ""
    note: str = ""
    since: str = "0.1"

    @property
    def methods(self) -> tuple[str, ...]:
        """The methods that it belongs to; under others it is ignored."""
        section, _, name = self.path.partition(".")
        return methods_with(name) if section == "training" else names()


# fmt: off
TABLE: tuple[Setting, ...] = (
    Setting("training.method", used_by="the choice of the trainer"),
    Setting("training.num_epochs", "num_train_epochs"),
    Setting("training.max_steps", "max_steps", adapt=adaptation.max_steps,
            note="instead of `num_epochs` if set"),
    Setting("training.learning_rate", "learning_rate"),
    Setting("training.batch_size", "per_device_train_batch_size"),
    Setting("training.eval_batch_size", "per_device_eval_batch_size",
            adapt=adaptation.eval_batch_size,
            note="as `batch_size` if not set"),
    Setting("training.gradient_accumulation_steps", "gradient_accumulation_steps"),
    Setting("training.warmup_steps", "warmup_steps", adapt=adaptation.warmup,
            note="or `warmup_ratio`, a number below 1"),
    Setting("training.warmup_ratio", used_by="warmup_steps, if those are 0"),
    Setting("training.lr_scheduler_type", "lr_scheduler_type", adapt=adaptation.scheduler),
    Setting("training.optim", "optim", adapt=adaptation.optimizer,
            note="`adamw_torch_fused`; what needs bitsandbytes becomes that on a CPU"),
    Setting("training.lr_scheduler_kwargs", "lr_scheduler_kwargs", since="0.2"),
    Setting("training.optim_args", "optim_args", adapt=adaptation.optimizer_arguments,
            note="`name=value, ...`, or an object", since="0.2"),
    Setting("training.adam_beta1", "adam_beta1", since="0.2"),
    Setting("training.adam_beta2", "adam_beta2", since="0.2"),
    Setting("training.adam_epsilon", "adam_epsilon", since="0.2"),
    Setting("training.weight_decay", "weight_decay"),
    Setting("training.max_grad_norm", "max_grad_norm"),
    Setting("training.bf16", "bf16", adapt=adaptation.bf16,
            note="on a GPU that has it; not on a CPU"),
    Setting("training.fp16", "fp16", adapt=adaptation.fp16,
            note="on a GPU, and in the place of bf16 if it has none"),
    Setting("training.gradient_checkpointing", "activation_checkpointing", default=False),
    Setting("training.torch_compile", "torch_compile", adapt=adaptation.compiled,
            note="on a GPU, if asked for; the first steps take longer"),
    Setting("training.use_liger_kernel", used_by="the model's layers, if liger-kernel is "
            "installed beside a GPU: `true`, or `auto` for only there "
            "([page](methods.md#liger-kernels))", since="0.2"),
    Setting("training.max_length", "max_length", adapt=lambda _, context: context.max_length,
            note="1,024, no more than the model has positions for"),
    Setting("training.max_prompt_length", used_by="the cutting of prompts"),
    Setting("training.packing", "packing", adapt=adaptation.packing,
            note="whole rows, apart from one another; on for `cpt`, cut to full length"),
    Setting("training.completion_only_loss", used_by="the labels: answers only, or all tokens"),
    Setting("training.label_smoothing_factor", "label_smoothing_factor", default=0.0,
            note="of the loss that is trained on; of pairs: the share that is the wrong way round",
            since="0.2"),
    Setting("training.loss_type", "loss_type", adapt=adaptation.loss_type,
            note=by_method(lambda how: ", ".join(f"`{name}`" for name in how.losses) or None),
            since="0.2"),
    Setting("training.neftune_noise_alpha", "neftune_noise_alpha",
            adapt=lambda value, _: value or None,
            note="noise on the embeddings, uniform between plus and minus this over the root of "
            "tokens times their size", since="0.2"),
    Setting("training.freeze", used_by="the model: weights that these names or patterns match stay "
            "as they are (`model.embed_tokens`, `model.layers.[0-7].*`)", since="0.2"),
    Setting("training.group_by_length", "train_sampling_strategy", adapt=adaptation.sampling,
            note="`group_by_length` or `random`"),
    Setting("training.beta", "beta", adapt=adaptation.beta,
            note=by_method(lambda how: how.settings.get("beta"))),
    Setting("training.simpo_gamma", "simpo_gamma", adapt=adaptation.simpo_gamma,
            note=by_method(lambda how: how.settings.get("simpo_gamma")), since="0.2"),
    Setting("training.desirable_weight", "desirable_weight", default=1.0, since="0.2"),
    Setting("training.undesirable_weight", "undesirable_weight", default=1.0, since="0.2"),
    Setting("training.rlhf", used_by="the rewards and the answers that are sampled"),
    Setting("training.use_lora", used_by="the model: a LoRA adapter is trained"),
    Setting("training.quantization", used_by="the model's loading"),
    Setting("training.logging_steps", "logging_steps"),
    Setting("training.eval_strategy", "eval_strategy", adapt=adaptation.eval_strategy,
            note="by epoch, or by steps if `eval_steps` is set; `no` without eval rows"),
    Setting("training.eval_steps", "eval_steps", adapt=adaptation.eval_steps,
            note="as `logging_steps` if not set"),
    Setting("training.save_strategy", "save_strategy", adapt=adaptation.save_strategy,
            note="`steps` if not set"),
    Setting("training.save_steps", "save_steps", default=DEFAULT_SAVE_STEPS),
    Setting("training.save_total_limit", used_by="the pruning of checkpoints",
            default=DEFAULT_CHECKPOINTS_KEPT),
    Setting("training.metric_for_best_model", "metric_for_best_model",
            adapt=adaptation.best_metric, note=by_method(lambda how: f"`{how.eval_metrics[0]}`")),
    Setting("training.early_stopping_patience", used_by="the end after so many evals without a "
            "better metric", idle=idle.without_evals),
    Setting("training.epochs_without_improvement", used_by="the same, counted in epochs",
            idle=idle.without_evals),
    Setting("training.load_best_model_at_end", used_by="the result: the best checkpoint's weights",
            idle=idle.without_evals),
    Setting("training.merge_adapter", used_by="the result: a merged copy in `model/merged`"),
    Setting("training.save_dtype", used_by="the result: its dtype, the base model's own if not "
            "set; an adapter as trained", since="0.2"),
    Setting("training.verify_result", used_by="the result: loaded again in a fresh process and "
            "compared before the job is completed", since="0.2"),
    Setting("training.report_to", "report_to", adapt=adaptation.report_to,
            note="`tensorboard`, and `wandb` or `mlflow` if they are installed"),
    Setting("training.dataloader_num_workers", "dataloader_num_workers",
            adapt=adaptation.loader_workers,
            note="at most one fewer than cores"),
    Setting("training.dataloader_prefetch_factor", "dataloader_prefetch_factor",
            adapt=adaptation.prefetch,
            note="if there are loader workers"),
    Setting("training.dataloader_pin_memory", "dataloader_pin_memory", adapt=adaptation.pin_memory,
            note="on with a GPU"),
    Setting("training.pretokenize", used_by="the data set: rows are always tokenised beforehand"),
    Setting("training.distributed", used_by="the number of processes, each with its own batch, and "
            "whether each has the whole model (`ddp`) or a share of it (`fsdp`)"),
    Setting("training.retry_out_of_memory", used_by="half the micro-batch with twice the "
            "accumulation, from the last checkpoint, if memory is too small"),
    Setting("training.stop_on_nan", used_by="the check of loss and gradient norm"),
    Setting("model.name", used_by="the model's loading; `job:ID` or `job:ID@checkpoint-N` goes on "
            "from a job"),
    Setting("model.trust_remote_code", used_by="the model's loading, if the worker allows it"),
    Setting("model.torch_dtype", used_by="the model's loading (dtype)"),
    Setting("model.device_map", ignored="a job has one device, and all of the model is on it"),
    Setting("model.attn_implementation", used_by="the model's loading; on a GPU "
            "flash-attn if it is installed, else SDPA"),
    Setting("model.revision", used_by="the model's download"),
    Setting("tokenizer.name", used_by="the tokenizer's loading"),
    Setting("tokenizer.trust_remote_code", used_by="the tokenizer's loading, if allowed"),
    Setting("tokenizer.padding_side", used_by="the saved tokenizer; training pads on the right"),
    Setting("tokenizer.add_eos_token", used_by="the tokenising of text and prompt/completion"),
    Setting("tokenizer.add_tokens", used_by="the tokenizer, and rows of the model's embeddings for "
            "them, which begin as the mean of all others", since="0.2"),
    Setting("tokenizer.add_special_tokens", used_by="the same; special ones are left out of "
            "decoded texts", since="0.2"),
    Setting("lora.adapter", used_by="the model, if its name stands for an adapter: `continue` "
            "trains it on, `new` merges it and puts a new one on top", since="0.2"),
    Setting("lora.r", used_by="LoraConfig(r)", idle=idle.without_adapter),
    Setting("lora.alpha", used_by="LoraConfig(lora_alpha)", idle=idle.without_adapter),
    Setting("lora.dropout", used_by="LoraConfig(lora_dropout)", idle=idle.without_adapter),
    Setting("lora.target_modules", used_by="LoraConfig(target_modules)", default="all-linear",
            idle=idle.without_adapter),
    Setting("lora.target_parameters", used_by="LoraConfig(target_parameters): fused experts, by "
            "name; needs `dropout` 0", since="0.2", idle=idle.without_adapter),
    Setting("lora.bias", used_by="LoraConfig(bias)", idle=idle.without_adapter),
    Setting("lora.modules_to_save", used_by="LoraConfig(modules_to_save): modules that are trained "
            "whole, beside the adapter", since="0.2", idle=idle.without_adapter),
    Setting("lora.use_rslora", used_by="LoraConfig(use_rslora): scaled by alpha over the root of r",
            since="0.2", idle=idle.without_adapter),
    Setting("lora.use_dora", used_by="LoraConfig(use_dora): lengths of the weights' columns are "
            "trained apart", since="0.2", idle=idle.without_adapter),
    Setting("lora.init", used_by="LoraConfig(init_lora_weights): `default`, `gaussian`, "
            "`orthogonal`", since="0.2", idle=idle.without_adapter),
    Setting("lora.task_type", used_by="LoraConfig(task_type)", idle=idle.without_adapter),
    Setting("data.strategy", ignored="it is a label of the client"),
    Setting("data.generation_type", ignored="it is a label of the client"),
    Setting("data.dataset_format", used_by="the data set, if it names a shape"),
    Setting("data.subset", used_by="the data set, if it has several"),
    Setting("data.split", used_by="the data set: the split that trains"),
    Setting("data.text_field", used_by="the data set"),
    Setting("data.columns", used_by="the data set"),
    Setting("data.max_samples", used_by="the data set"),
    Setting("data.train_split", used_by="the data set"),
    Setting("data.eval_split", used_by="the data set"),
    Setting("data.skip_bad_rows", used_by="the data set"),
    Setting("data.train_on", used_by="the data set: all of the assistant's turns, or the `last`"),
    Setting("data.training_template", used_by="the data set: TRL's variant of the chat template"),
    Setting("evaluation.metrics", ignored="loss and perplexity are always reported"),
    Setting("evaluation.eval_steps", used_by="training.eval_steps"),
    Setting("tensorboard", used_by="`report_to`; its files lie in the job's folder"),
    Setting(
        "predictions",
        used_by="samples of the model's answers at each eval, epoch or `step_interval` "
        "(`frequency`; also `sample_frequency`, `sample_count`); not with `fsdp`",
    ),
    Setting("provider", ignored="the worker trains on its own machine"),
    Setting("tools", ignored="it means nothing to a training"),
    Setting("seed", "seed"),
    Setting("training.max_hours", used_by="the worker: hours in slots, past which the job fails"),
    Setting("dataset_path", used_by="the request's dataset_path, if that is empty"),
    Setting("datasets", used_by="the request's datasets, if there are none: several data sets, "
            "mixed ([page](how-to/several-data-sets.md))", since="0.2"),
    Setting("eval_dataset_path", used_by="the request's eval_dataset_path, if that is empty",
            since="0.2"),
    Setting("output_dir", ignored="the result is written to the job's own folder"),
)
# fmt: on

FIXED: Mapping[str, Any] = {
    "disable_tqdm": True,
    "logging_strategy": "steps",
    "logging_first_step": True,
    # The default logs 0.0 for a loss that is NaN.
    "logging_nan_inf_filter": False,
    "prediction_loss_only": True,
    "remove_unused_columns": True,
    "push_to_hub": False,
    "save_only_model": False,
    # Pruned by tasks.checkpoints.folder once the newest is sealed; the Trainer would do it before.
    "save_total_limit": None,
    "load_best_model_at_end": False,
}
"""Arguments that no request changes."""

RLHF_ARGUMENTS: Mapping[str, str] = {
    "num_generations": "num_generations",
    "max_completion_length": "max_completion_length",
    "temperature": "temperature",
}
"""Field of ``training.rlhf`` → argument of ``trl.RLOOConfig`` and ``trl.GRPOConfig``."""

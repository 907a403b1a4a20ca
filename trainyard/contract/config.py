"""Configuration of a job: the sections of a request's ``config``, their bounds and defaults."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    field_validator,
)

from trainyard.contract.fields.data_sets import DataSets
from trainyard.contract.fields.job_reference import job_reference
from trainyard.contract.fields.numbers import (
    NOT_BOOL,
    BatchSize,
    Beta,
    Count,
    Fraction,
    NonNegativeFloat,
    NonNegativeInt,
    refuse_bool,
)
from trainyard.contract.methods import DEFAULT_METHOD, METHODS, Algorithm, Method, MethodName


def _refuse_share(value: Any) -> Any:
    if isinstance(value, float) and 0 < value < 1:
        raise ValueError(
            f"should be a whole number of steps; for a share of them send warmup_ratio {value:g}"
        )
    return refuse_bool(value)


Strategy = Literal["no", "steps", "epoch"]
NewToken = Annotated[str, Field(min_length=1, max_length=100)]
NewTokens = Annotated[list[NewToken], Field(max_length=1000)]


class Section(BaseModel):
    """Base of the parts of a request: fields that are not known are kept as extras."""

    model_config = ConfigDict(extra="allow", allow_inf_nan=False, protected_namespaces=())


class ModelConfig(Section):
    """``config.model``; ``name`` may refer to another job (``fields.job_reference``)."""

    name: Annotated[str, Field(min_length=1, max_length=1000)]
    trust_remote_code: bool = False
    torch_dtype: str | None = None
    device_map: Any = None
    attn_implementation: str | None = None
    revision: str | None = None

    @field_validator("name")
    @classmethod
    def _refers_well(cls, value: str) -> str:
        job_reference(value)
        return value


class TokenizerConfig(Section):
    """``config.tokenizer``; the model's own if ``name`` is absent."""

    name: str | None = None
    trust_remote_code: bool = False
    padding_side: Literal["left", "right"] | None = None
    add_eos_token: bool | None = None
    add_tokens: NewTokens | None = None
    add_special_tokens: NewTokens | None = None


class LoraConfig(Section):
    """``config.lora``; the user interface's ``training.lora_*`` ends here too.

    ``adapter``: what becomes of the adapter that ``model.name`` stands for: it is trained on, or
    merged with its base model, and a new one is put on top. ``lora: "continue"`` says the first.
    """

    adapter: Literal["continue", "new"] | None = None
    r: Count = 16
    alpha: Annotated[float, Field(gt=0), NOT_BOOL] = 32
    dropout: Fraction = 0.05
    target_modules: list[str] | str | None = None
    target_parameters: list[str] | None = None
    bias: Literal["none", "all", "lora_only"] = "none"
    modules_to_save: Annotated[list[str], Field(max_length=100)] | None = None
    use_rslora: bool = False
    use_dora: bool = False
    init: Literal["default", "gaussian", "orthogonal"] = "default"
    task_type: str = "CAUSAL_LM"

    @field_validator("init", mode="before")
    @classmethod
    def _leaves_the_base(cls, value: Any) -> Any:
        if isinstance(value, str) and value.startswith(("pissa", "olora", "corda", "loftq")):
            raise ValueError(
                f"{value!r} changes the base model's weights too, and the result would not fit "
                "them: send 'default', 'gaussian' or 'orthogonal'"
            )
        return "default" if value is True else value


class DistributedConfig(Section):
    """``config.training.distributed``: one training in several processes of one slot.

    Each process has its own GPU (on a machine without one: a share of the cores) and takes its own
    micro-batch: the effective batch is ``batch_size * gradient_accumulation_steps * processes``.
    With ``ddp`` each holds the whole model; with ``fsdp`` a share of it, its gradients and the
    optimizer's state.
    """

    processes: Annotated[int, Field(ge=1, le=64), NOT_BOOL] = 1
    strategy: Literal["ddp", "fsdp"] = "ddp"


Reward = Literal["answer", "format", "brevity"]


class RlhfConfig(Section):
    """``config.training.rlhf``: what the method ``rlhf`` learns from.

    Answers are sampled from the model and scored: by a reward model (one that gives a text one
    number), by built-in functions, or by both, which are added up.
    """

    algorithm: Algorithm | None = None
    reward_model: Annotated[str, Field(min_length=1)] | None = None
    reward_functions: list[Reward] = []
    num_generations: Annotated[int, Field(ge=2, le=1024), NOT_BOOL] = 4
    max_completion_length: Annotated[int, Field(ge=1), NOT_BOOL] = 256
    temperature: Annotated[float, Field(gt=0, le=10), NOT_BOOL] = 1.0

    @field_validator("algorithm", mode="before")
    @classmethod
    def _no_ppo(cls, value: Any) -> Any:
        if value == "ppo":
            raise ValueError("the installed TRL has no PPO any more: send 'rloo' or 'grpo'")
        return value


class TrainingConfig(Section):
    """``config.training`` in the normalised spelling."""

    method: MethodName = DEFAULT_METHOD
    num_epochs: Annotated[float, Field(gt=0, le=10_000), NOT_BOOL] = 3
    max_steps: Count | None = None
    max_hours: Annotated[float, Field(gt=0, le=100_000), NOT_BOOL] | None = None
    learning_rate: Annotated[float, Field(gt=0), NOT_BOOL] = 2e-5
    batch_size: BatchSize = 4
    eval_batch_size: BatchSize | None = None
    gradient_accumulation_steps: BatchSize = 1
    warmup_steps: Annotated[int, Field(ge=0), BeforeValidator(_refuse_share)] = 0
    warmup_ratio: Fraction = 0.0
    lr_scheduler_type: str = "linear"
    lr_scheduler_kwargs: dict[str, Any] | None = None
    optim: str | None = None
    optim_args: dict[str, Any] | str | None = None
    adam_beta1: Beta = 0.9
    adam_beta2: Beta = 0.999
    adam_epsilon: NonNegativeFloat = 1e-8
    weight_decay: NonNegativeFloat = 0.0
    max_grad_norm: NonNegativeFloat = 1.0
    bf16: bool | None = None
    fp16: bool | None = None
    gradient_checkpointing: bool | None = None
    torch_compile: bool = False
    use_liger_kernel: bool | Literal["auto"] = False
    max_length: Annotated[int, Field(ge=8), NOT_BOOL] | None = None
    max_prompt_length: Count | None = None
    packing: bool | None = None
    completion_only_loss: bool | None = None
    label_smoothing_factor: Beta | None = None
    loss_type: str | None = None
    neftune_noise_alpha: NonNegativeFloat | None = None
    freeze: Annotated[list[str], Field(max_length=100)] = []
    group_by_length: bool = False
    beta: Annotated[float, Field(gt=0), NOT_BOOL] | None = None
    simpo_gamma: NonNegativeFloat | None = None
    desirable_weight: NonNegativeFloat | None = None
    undesirable_weight: NonNegativeFloat | None = None
    use_lora: bool = False
    quantization: dict[str, Any] | None = None
    logging_steps: Count = 10
    eval_strategy: Strategy | None = None
    eval_steps: Count | None = None
    save_strategy: Strategy | None = None
    save_steps: Count | None = None
    save_total_limit: Count | None = None
    metric_for_best_model: str | None = None
    dataloader_num_workers: NonNegativeInt | None = None
    dataloader_prefetch_factor: Count | None = None
    dataloader_pin_memory: bool | None = None
    pretokenize: bool | None = None
    stop_on_nan: bool = True
    distributed: DistributedConfig | None = None
    rlhf: RlhfConfig | None = None
    retry_out_of_memory: bool = True
    early_stopping_patience: Count | None = None
    epochs_without_improvement: Count | None = None
    load_best_model_at_end: bool = False
    merge_adapter: bool = False
    save_dtype: Literal["float32", "bfloat16", "float16"] | None = None
    verify_result: bool = True
    report_to: list[str] | str | None = None

    @property
    def how(self) -> Method:
        """The record of the method."""
        return METHODS[self.method]

    @property
    def answer_length(self) -> int:
        """Tokens that an answer may have, if the model's own answers are sampled."""
        return (self.rlhf or RlhfConfig()).max_completion_length

    @property
    def processes(self) -> int:
        """Processes that train together."""
        return self.distributed.processes if self.distributed else 1

    @property
    def sharded(self) -> bool:
        """Whether each process holds a share of the model (FSDP)."""
        return self.distributed is not None and self.distributed.strategy == "fsdp"

    @field_validator("eval_strategy", "save_strategy", mode="before")
    @classmethod
    def _yaml_no(cls, value: Any) -> Any:
        return "no" if value is False else value


class DataConfig(Section):
    """``config.data``."""

    strategy: str | None = None
    generation_type: str | None = None
    dataset_format: str | None = None
    subset: str | None = None
    split: str | None = None
    text_field: str | None = None
    columns: dict[str, str] | None = None
    max_samples: Count | None = None
    train_split: Annotated[float, Field(gt=0, le=1), NOT_BOOL] | None = None
    eval_split: Annotated[float, Field(ge=0, lt=1), NOT_BOOL] | None = None
    skip_bad_rows: bool = False
    train_on: Literal["all", "last"] = "all"
    training_template: bool = True


class EvaluationConfig(Section):
    """``config.evaluation``."""

    metrics: list[str] | None = None
    eval_steps: Count | None = None


class PredictionsConfig(Section):
    """``config.predictions``: what the model says to a few fixed prompts.

    Without ``prompts``, those of the first ``count`` eval rows. ``frequency``: after each eval,
    each epoch, or every ``step_interval`` steps.
    """

    enabled: bool = True
    prompts: Annotated[list[str], Field(max_length=20)] | None = None
    count: Annotated[int, Field(ge=1, le=100), NOT_BOOL] = 3
    frequency: Literal["eval", "epoch", "step"] = "eval"
    step_interval: Count = 100
    max_new_tokens: Annotated[int, Field(ge=1, le=4096), NOT_BOOL] = 64


class JobConfig(Section):
    """``config`` of a request."""

    model: ModelConfig
    tokenizer: TokenizerConfig = Field(default_factory=TokenizerConfig)
    training: TrainingConfig = Field(default_factory=TrainingConfig)
    lora: LoraConfig | None = None
    data: DataConfig = Field(default_factory=DataConfig)
    evaluation: EvaluationConfig = Field(default_factory=EvaluationConfig)
    tensorboard: dict[str, Any] | None = None
    predictions: PredictionsConfig | None = None
    provider: Any = None
    tools: Any = None
    seed: Annotated[int, Field(ge=0, lt=2**32), NOT_BOOL] = 42
    dataset_path: str | None = None
    datasets: DataSets | None = None
    eval_dataset_path: str | None = None
    output_dir: str | None = None

"""Methods of fine-tuning: one record each, from which whatever differs between them is made.

A new method is a name and a record here, its trainer in ``tasks/methods/registry.py``, its tests.
One that learns from rows of a new kind adds a record to ``tasks/datasets/row_kinds.py``, with what
recognises and stores them in ``shapes/`` and what tokenises them in ``tokens/``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal

MethodName = Literal["sft", "cpt", "dpo", "orpo", "simpo", "kto", "reward_model", "rlhf", "grpo"]
Algorithm = Literal["rloo", "grpo"]
"""Trainers of answers that the model itself gives."""
DEFAULT_METHOD: Final[MethodName] = "sft"
ShapeName = Literal[
    "text", "prompt_completion", "dialogue", "messages", "preference", "labelled", "prompt"
]
"""What the columns of a data set mean; see ``tasks/datasets/shapes``."""
OpenAiName = Literal["supervised", "dpo", "reinforcement"]
RowsName = Literal["answers", "documents", "pairs", "labelled", "prompts"]
"""Kinds of rows; see ``tasks/datasets/row_kinds.py``."""


@dataclass(frozen=True)
class Method:
    """One method: ``title`` and ``data`` say to people what it is and what it learns from.

    ``rows``: the kind that it learns from; ``shapes``: those of the columns that make them;
    ``needs``: the same for whoever sent others.
    ``trainers``: keys of ``tasks.methods.registry.TRAINERS``, several if a setting chooses.
    ``settings``: fields of ``config.training`` that not every method takes, with the default that
    this one gives them (None: none of its own). ``losses``: values of ``loss_type``, if a request
    may choose one, its default first. ``eval_metrics``: what an eval gives to choose the
    best checkpoint by, the default first. ``arguments``: of its trainer, which no request changes.

    ``next_token``: a row is one sequence of tokens, each learnt from those before it, so that rows
    can be laid end to end and exp(loss) is a perplexity. ``whole_documents``: no row is cut to
    ``max_length``; packing cuts what it joined. ``reference_model``: the loss compares with a
    frozen copy (with LoRA: with the base model itself). ``samples_answers``: the model's own
    answers are rewarded, as ``config.training.rlhf`` says. ``scores_texts``: the result gives a
    text one number, and no text. ``openai``: its name in OpenAI's fine-tuning API, if it has one.
    """

    name: MethodName
    title: str
    data: str
    rows: RowsName
    shapes: tuple[ShapeName, ...]
    needs: str
    trainers: tuple[str, ...]
    settings: Mapping[str, Any]
    eval_metrics: tuple[str, ...]
    arguments: Mapping[str, Any] = field(default_factory=dict)
    losses: tuple[str, ...] = ()
    next_token: bool = False
    whole_documents: bool = False
    reference_model: bool = False
    samples_answers: bool = False
    scores_texts: bool = False
    openai: OpenAiName | None = None


_ANSWERED: tuple[ShapeName, ...] = ("prompt_completion", "dialogue", "messages")
_PAIRS = (
    "chosen and rejected, and a prompt (or question or instruction) unless those two are whole "
    "conversations"
)
_PAIR_METRICS = ("eval_loss", "eval_rewards/accuracies", "eval_rewards/margins")
_TOKEN_METRICS = ("eval_loss", "eval_mean_token_accuracy")

_SFT = Method(
    "sft",
    openai="supervised",
    title="supervised fine-tuning; only answers are trained on",
    data="conversations, prompts with answers, or text",
    rows="answers",
    shapes=("text", *_ANSWERED),
    needs="messages, question and answer, prompt and completion, or text",
    trainers=("sft",),
    settings={
        "max_length": None,
        "packing": False,
        "completion_only_loss": None,
        "label_smoothing_factor": None,
        "neftune_noise_alpha": None,
        "group_by_length": None,
        "use_liger_kernel": None,
    },
    eval_metrics=_TOKEN_METRICS,
    arguments={
        # Whole rows, best fit first; positions begin again with each, so that they stay apart.
        "packing_strategy": "bfd",
        "eval_packing": False,
        # Rows come tokenised; with packing TRL still joins them.
        "dataset_kwargs": {},
    },
    next_token=True,
)
_CPT = Method(
    "cpt",
    title="continued pre-training on plain text, packed (`packing: false`: row by row)",
    data="text",
    rows="documents",
    shapes=("text",),
    needs="text",
    trainers=("cpt",),
    settings={
        "max_length": None,
        "packing": True,
        "label_smoothing_factor": None,
        "neftune_noise_alpha": None,
        "group_by_length": None,
        "use_liger_kernel": None,
    },
    eval_metrics=_TOKEN_METRICS,
    arguments={"packing_strategy": "wrapped", "eval_packing": True, "dataset_kwargs": {}},
    next_token=True,
    whole_documents=True,
)
_DPO = Method(
    "dpo",
    openai="dpo",
    title="direct preference optimisation",
    data="chosen and rejected answers",
    rows="pairs",
    shapes=("preference",),
    needs=_PAIRS,
    trainers=("dpo",),
    settings={
        "max_length": None,
        "max_prompt_length": None,
        "group_by_length": None,
        "beta": 0.1,
        "loss_type": "sigmoid",
        "label_smoothing_factor": None,
        "use_liger_kernel": None,
    },
    eval_metrics=_PAIR_METRICS,
    arguments={"truncation_mode": "keep_start"},
    losses=(
        *("sigmoid", "sigmoid_norm", "hinge", "ipo", "robust", "nca_pair", "sppo_hard"),
        *("apo_zero", "apo_down", "discopop"),
    ),
    reference_model=True,
)
_ORPO = Method(
    "orpo",
    title="odds ratio preference optimisation, without a reference model",
    data="chosen and rejected answers",
    rows="pairs",
    shapes=("preference",),
    needs=_PAIRS,
    trainers=("orpo",),
    settings={"max_length": None, "max_prompt_length": None, "group_by_length": None, "beta": 0.1},
    eval_metrics=_PAIR_METRICS,
    # Columns that the model does not take are the rows themselves.
    arguments={"remove_unused_columns": False},
)
_SIMPO = replace(
    _ORPO,
    name="simpo",
    title="simple preference optimisation, without a reference model",
    trainers=("simpo",),
    settings={**_ORPO.settings, "beta": 2.0, "simpo_gamma": 0.5},
    arguments={"remove_unused_columns": False, "loss_type": "simpo", "cpo_alpha": 0.0},
)
_KTO = Method(
    "kto",
    title="Kahneman-Tversky optimisation: answers that are marked as good or bad",
    data="answers with a label",
    rows="labelled",
    shapes=("labelled",),
    needs="a prompt with an answer, or messages, and label (true or false: whether the answer is "
    "good)",
    trainers=("kto",),
    settings={
        "max_length": None,
        "max_prompt_length": None,
        "group_by_length": None,
        "beta": 0.1,
        "desirable_weight": None,
        "undesirable_weight": None,
        "use_liger_kernel": None,
    },
    eval_metrics=("eval_loss", "eval_rewards/margins"),
    # By this name TRL estimates nothing over a micro-batch: our trainer does, over the whole step.
    arguments={"remove_unused_columns": False, "loss_type": "apo_zero_unpaired"},
    reference_model=True,
)
_REWARD_MODEL = Method(
    "reward_model",
    title="a model that gives a text one number, as `rlhf.reward_model` takes it",
    data="chosen and rejected answers",
    rows="pairs",
    shapes=("preference",),
    needs=_PAIRS,
    trainers=("reward_model",),
    settings={"max_length": None, "max_prompt_length": None, "group_by_length": None},
    eval_metrics=_PAIR_METRICS,
    arguments={"remove_unused_columns": False},
    scores_texts=True,
)
_RLHF = Method(
    "rlhf",
    title="the model's own answers are rewarded",
    data="prompts, and a reward",
    rows="prompts",
    shapes=("prompt", *_ANSWERED),
    needs="a prompt, or question and answer, or messages",
    trainers=("rloo", "grpo"),
    settings={"beta": 0.05, "rlhf": None, "use_liger_kernel": None},
    eval_metrics=("eval_reward", "eval_loss"),
    # Columns that the model does not take are what a reward looks at.
    arguments={"remove_unused_columns": False},
    samples_answers=True,
)
_GRPO = replace(
    _RLHF,
    name="grpo",
    title="group relative policy optimisation: `rlhf` by that algorithm",
    openai="reinforcement",
    trainers=("grpo",),
)

REWARDS: Final = "rlhf"
"""The field of ``config.training`` that says how answers are rewarded."""
SMOOTHED_LOSSES: Final = ("sigmoid", "robust")
"""Of pairs: those that take pairs that are the wrong way round into account."""
METHODS: Mapping[str, Method] = {
    method.name: method
    for method in (_SFT, _CPT, _DPO, _ORPO, _SIMPO, _KTO, _REWARD_MODEL, _RLHF, _GRPO)
}
"""By ``config.training.method``."""


def names(chosen: Callable[[Method], bool] = lambda _: True) -> tuple[str, ...]:
    """Names of the methods that ``chosen`` is true of, in the order of the records."""
    return tuple(name for name, method in METHODS.items() if chosen(method))


def method_of_openai(name: OpenAiName) -> str:
    """Our name of a method of OpenAI's fine-tuning API."""
    (ours,) = names(lambda method: method.openai == name)
    return ours


def methods_with(setting: str) -> tuple[str, ...]:
    """Names of the methods that take a field of ``config.training``: all, if none names it."""
    return names(lambda method: setting in method.settings) or names()


def listed(words: Sequence[str], last: str = "and") -> str:
    """``a, b and c``."""
    *first, end = words
    return f"{', '.join(first)} {last} {end}" if first else end


def by_method(value: Callable[[Method], Any]) -> str:
    """What ``value`` gives, unless None: the most frequent, then ``for NAME VALUE``."""
    found = {name: value(method) for name, method in METHODS.items()}
    values = {name: str(it) for name, it in found.items() if it is not None}
    usual = max(values.values(), key=list(values.values()).count)
    others = [f"for {name} {text}" for name, text in values.items() if text != usual]
    return ", ".join([usual, *others])

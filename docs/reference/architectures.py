"""docs/reference/architectures.md: what becomes of each causal architecture of transformers.

python -m docs.reference.architectures [KIND ...]

Each that a tiny configuration can be made for is saved with random weights, loaded as a job loads
it, and tried as a job's training is tried. Takes some ten minutes; KINDs only: those are printed.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import datasets
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
from transformers.utils import logging as transformers_logging

from tasks.arguments.adaptation import Context
from tasks.arguments.build import build_arguments
from tasks.arguments.machine import Machine
from tasks.errors import TrainingError
from tasks.methods.registry import Parts, make_arguments, make_trainer
from tasks.models.load import load_config, load_model
from tasks.trial.trial import hold
from trainyard.contract.config import JobConfig

PAGE = Path(__file__).parents[2] / "docs/reference/architectures.md"
SECONDS_MAX = 120
PARAMETERS_MAX = 30_000_000
VOCABULARY = 300
_CPU = Machine(cuda=False, bf16=False, cores=2, bitsandbytes=False, device_name="CPU")
_32 = "hidden_size n_embd d_model word_embed_proj_dim attention_hidden_size lru_width"
_64 = "intermediate_size ffn_dim d_ff n_inner encoder_ffn_dim decoder_ffn_dim dim_feedforward"
_2 = "num_hidden_layers n_layer n_layers num_layers num_key_value_heads num_experts_per_tok"
_4 = (
    "num_attention_heads n_head n_heads num_heads encoder_attention_heads decoder_attention_heads "
    "num_local_experts num_experts n_routed_experts moe_num_experts state_size mamba_n_heads "
    "mamba_num_heads rotary_dim"
)
_8 = (
    "head_dim qk_rope_head_dim qk_nope_head_dim v_head_dim hidden_size_per_layer_input "
    "mamba_d_state ssm_state_size"
)
_16 = "kv_lora_rank q_lora_rank mamba_d_head mamba_head_dim"
_1 = (
    "encoder_layers decoder_layers n_group topk_group first_k_dense_replace n_shared_experts "
    "mamba_n_groups decoder_start_token_id bos_token_id"
)
TINY: dict[str, Any] = {
    **dict.fromkeys(f"{_32} moe_intermediate_size shared_expert_intermediate_size".split(), 32),
    "embedding_size": 32,
    **dict.fromkeys(_64.split(), 64),
    **dict.fromkeys(_2.split(), 2),
    **dict.fromkeys(_4.split(), 4),
    **dict.fromkeys(_8.split(), 8),
    **dict.fromkeys(_16.split(), 16),
    **dict.fromkeys(_1.split(), 1),
    **dict.fromkeys(("max_position_embeddings", "n_positions", "n_ctx"), 128),
    **{"vocab_size": VOCABULARY, "vocab_size_per_layer_input": VOCABULARY},
    **{"pad_token_id": 0, "eos_token_id": 2, "dropout": 0.0},
}
"""What a configuration's fields of these names are set to."""

SPECIAL: dict[str, dict[str, Any]] = {
    "gpt_neo": {"attention_types": [[["global", "local"], 1]]},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"]},
    "reformer": {"is_decoder": True},
    "mamba2": {"head_dim": 16},
    "falcon_h1": {"mamba_d_ssm": 64},
    "olmo_hybrid": {"layer_types": ["linear_attention", "full_attention"]},
}
"""What some configurations need beside."""

_HEAD = """# Architectures

What becomes of each causal architecture of transformers {version}: a tiny model with random weights
is loaded as a job loads its base model, and tried on two rows as a training is before its first
step (`python -m docs.reference.architectures`). *fused*: trained with TRL's fused head, whose loss
is the model's own. *plain*: trained with the model's own forward, since the fused head's loss is
another one. LoRA: with all linear layers. No tiny configuration: none was made by setting the usual
fields, which says nothing of the real models.

{counts}

| kind | class | whole model | LoRA |
|---|---|---|---|
"""


@dataclass(frozen=True)
class Row:
    """One architecture: its class, and what becomes of it whole and with LoRA."""

    kind: str
    name: str
    whole: str
    lora: str

    @property
    def is_made(self) -> bool:
        """Whether there was a model to try."""
        return not self.whole.startswith("no tiny configuration")


class TooLong(Exception):
    """The trial of one architecture took too long."""


@contextmanager
def _limited() -> Iterator[None]:
    def stop(*_: Any) -> None:
        raise TooLong

    signal.signal(signal.SIGALRM, stop)
    signal.alarm(SECONDS_MAX)
    try:
        yield
    finally:
        signal.alarm(0)


def kinds() -> list[str]:
    """The causal architectures of the installed transformers, by ``model_type``."""
    return list(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)


def make(kind: str, folder: Path) -> Any:
    """Save a tiny model of the architecture; raises whatever its classes raise."""
    config_class = CONFIG_MAPPING[kind]
    usual = config_class()
    if usual.get_text_config() is not usual:
        raise ValueError("it is made of several configurations")
    names = {*usual.to_dict(), *getattr(usual, "attribute_map", {})}
    values = {name: value for name, value in TINY.items() if name in names}
    if "kv_lora_rank" in names:
        values["num_key_value_heads"] = values["num_attention_heads"]
    if getattr(usual, "layer_types", None) and not _is_computed(config_class, "layer_types"):
        values["layer_types"] = list(usual.layer_types)[:2]
    values = {**values, **SPECIAL.get(kind, {})}
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config_class(**values)).float()
    if model.num_parameters() > PARAMETERS_MAX:
        raise ValueError(f"it has {model.num_parameters():,} parameters")
    for weight in model.parameters():
        # Wide, so that a part that is left out shows.
        if weight.is_floating_point():
            weight.data = torch.randn_like(weight) * (0.3 if weight.dim() > 1 else 0.1) + (
                weight.data if weight.dim() == 1 else 0
            )
    # One whose sizes do not go together says nothing of the real one, nor does one without experts
    # whose trainers ask for its router.
    asked = {"output_router_logits": True} if "output_router_logits" in names else {}
    model(torch.arange(5, 25)[None], use_cache=False, **asked)
    model.generation_config = type(model.generation_config)()
    model.save_pretrained(folder)
    return model


def _is_computed(config_class: Any, name: str) -> bool:
    stored = getattr(config_class, "attribute_map", {}).get(name, name)
    return isinstance(getattr(config_class, stored, None), property)


def tokenizer() -> Any:
    """A tokenizer of as many words as the models have embeddings."""
    backend = Tokenizer(models.WordLevel({f"w{n}": n for n in range(VOCABULARY)}, "w3"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    special = {"pad_token": "w0", "bos_token": "w1", "eos_token": "w2"}
    return PreTrainedTokenizerFast(tokenizer_object=backend, **special)


def tried(folder: Path, out: Path, *, lora: bool) -> str:
    """Load and try: ``fused``, ``plain``, or ``refused: why``."""
    training = {"use_lora": lora, "batch_size": 2}
    config = JobConfig.model_validate(
        {"model": {"name": "it"}, "training": training, "lora": {"r": 2} if lora else None}
    )
    tokens = torch.randint(5, VOCABULARY, (2, 30), generator=torch.Generator().manual_seed(1))
    rows = datasets.Dataset.from_dict({"input_ids": tokens.tolist(), "labels": tokens.tolist()})
    data: Any = SimpleNamespace(train=SimpleNamespace(dataset=rows), eval=None)
    context = Context(config, _CPU, 64, False, [])
    arguments = build_arguments(context, output_dir=str(out), eval_on_start=False)
    try:
        load_config(folder, "it", False)
        model = load_model(
            folder,
            config,
            dtype="float32",
            quantization=None,
            attention=None,
            trust_remote_code=False,
        )
        args = make_arguments(arguments, config)
        trainer = make_trainer(Parts(model), tokenizer(), data, args, config)
        return hold(trainer, "it", compares=False).head
    except TrainingError as error:
        return f"refused: {_short(error.sentence)}"


def _short(text: str) -> str:
    return " ".join(text.replace("'it' ", "").split())[:160].replace("|", "/")


def row_of(kind: str) -> Row:
    """Make the architecture, and try it."""
    name = MODEL_FOR_CAUSAL_LM_MAPPING_NAMES[kind]
    with tempfile.TemporaryDirectory() as place:
        folder, out = Path(place) / "model", Path(place) / "out"
        try:
            with _limited():
                make(kind, folder)
        except Exception as error:
            # Whatever it was: this architecture cannot be tried here.
            return Row(kind, name, f"no tiny configuration: {_short(_what(error))}", "")
        found = []
        for lora in (False, True):
            try:
                with _limited():
                    found.append(tried(folder, out, lora=lora))
            except Exception as error:
                # As a job's: an error that is not ours ends it with its sentence.
                found.append(f"fails: {_short(_what(error))}")
    return Row(kind, name, found[0], found[1])


def _what(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"


def as_markdown(rows: list[Row]) -> str:
    """The page."""
    made = [row for row in rows if row.is_made]
    whole = Counter(row.whole.partition(":")[0] for row in made)
    said = ", ".join(f"{count} {word}" for word, count in sorted(whole.items()))
    counts = f"{len(rows)} architectures; {len(made)} were made and tried: {said}."
    lines = [f"| {row.kind} | {row.name} | {row.whole} | {row.lora} |\n" for row in rows]
    return _HEAD.format(version=version("transformers"), counts=counts) + "".join(lines)


def read_page() -> dict[str, Row]:
    """The rows that the page has, by kind."""
    cells = [line.strip("| \n").split(" | ") for line in PAGE.read_text().splitlines()]
    rows = [Row(*(cell.rstrip(" |") for cell in [*row, ""][:4])) for row in cells if len(row) > 2]
    return {row.kind: row for row in rows if row.kind in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES}


def main() -> None:
    """Write the page, or print the rows of the kinds that are named."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()
    logging.disable(logging.WARNING)
    named = sys.argv[1:]
    rows = []
    for kind in named or kinds():
        rows.append(row_of(kind))
        print(rows[-1], flush=True)
    if not named:
        PAGE.write_text(as_markdown(rows))


if __name__ == "__main__":
    main()

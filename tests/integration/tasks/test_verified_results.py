"""Results that load, answer and stop as what was trained, or are refused or said with the reason.

A table at the end puts faults back: each turns the test that it names red.
"""

from __future__ import annotations

import inspect
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.models import load_adapter, make_chatml_model, make_tiny_model
from tests.support.training import Preloaded, Run, run_training, write_jsonl
from trainyard.contract.errors import ErrorKind
from trainyard.contract.events import Phase, Warnings

ROWS = [{"question": f"What is {n} plus 1?", "answer": f"{n + 1}."} for n in range(24)]
LORA = {"use_lora": True, "lora_config": {"r": 4, "dropout": 0.0}}
BY_HEART = {"max_steps": 40, "batch_size": 2, "dataset": "one.jsonl", "model": "chatml"}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import torch
    from transformers import AutoModelForCausalLM

    root = tmp_path_factory.mktemp("models")
    tiny = make_tiny_model(root / "tiny", hidden_size=32)
    chatml = make_chatml_model(root / "chatml", tiny)
    shutil.copytree(tiny, root / "half")
    half = AutoModelForCausalLM.from_pretrained(tiny, dtype=torch.bfloat16)
    half.save_pretrained(root / "half")
    shutil.copytree(chatml, root / "faulty")
    # As several families ship it: a temperature, and no sampling to use it in; no padding.
    _edit(root / "faulty" / "generation_config.json", temperature=0.6, pad_token_id=None)
    _edit(root / "faulty" / "config.json", pad_token_id=None)
    _edit(root / "faulty" / "tokenizer_config.json", pad_token=None)
    return root


def _edit(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("home")
    write_jsonl(home / "datasets" / "sums.jsonl", ROWS)
    write_jsonl(home / "datasets" / "one.jsonl", ROWS[:1])
    return home


@pytest.fixture
def train(models: Path, home: Path, preloaded: Preloaded) -> Iterator[Train]:
    """A job of a name of its own: ``train(**settings of config.training)``."""

    def train(model: str = "tiny", dataset: str = "sums.jsonl", **training: Any) -> Run:
        train_number[0] += 1
        job_id = training.pop("job_id", f"job-{train_number[0]}")
        settings = {"max_steps": 3, "batch_size": 4, "learning_rate": 0.02, "save_steps": 100}
        config = {"model": {"name": model}, "training": {**settings, **training}}
        attempt = training.pop("attempt", 1)
        config["model"] |= training.pop("of_model", {})
        config["training"] = {**settings, **training}
        asked = {"execution_id": job_id, "dataset_path": dataset, "config": config}
        return run_training(home, asked, models=models, preloaded=preloaded, attempt=attempt)

    yield train
    preloaded.faults = ()


Train = Callable[..., Run]
train_number = [0]


def warnings_of(run: Run) -> dict[str, str]:
    """The verdicts, by their kinds."""
    sent = run.of(Warnings)
    return {verdict.kind.value: verdict.sentence for verdict in sent[-1].warnings} if sent else {}


def completed(run: Run) -> Path:
    """The folder of the result, which was verified."""
    assert run.outcome.outcome == "completed", run.log
    assert "The result is verified" in run.log
    return run.job_dir / "model"


def refused(run: Run) -> str:
    """Why the job failed; its files are kept."""
    error = run.outcome.error
    assert error is not None, run.log
    assert (error.kind, run.exit_code) == (ErrorKind.RESULT, 1), error
    assert "kept in model.refused" in error.hint
    assert (run.job_dir / "model.refused" / "tokenizer.json").is_file()
    assert not list(run.job_dir.glob("model")) + list(run.job_dir.glob("model.partial"))
    return error.message


def says(model: Any, tokenizer: Any, question: str, generation: Any) -> str:
    """What the model generates for one question, at most 30 tokens."""
    text = tokenizer.apply_chat_template(
        [{"role": "user", "content": question}], tokenize=False, add_generation_prompt=True
    )
    asked = tokenizer(text, return_tensors="pt", add_special_tokens=False)
    generation.update(max_new_tokens=30)
    given = model.generate(**asked, generation_config=generation)
    return str(tokenizer.decode(given[0, asked["input_ids"].shape[1] :]))


def test_an_answer_known_by_heart_stops_at_its_end(train: Train) -> None:
    """ChatML on a base model that stops elsewhere: generation ran to its limit."""
    from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

    folder = completed(train(**BY_HEART))
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder)
    generation = GenerationConfig.from_pretrained(folder)
    assert says(model, tokenizer, ROWS[0]["question"], generation) == "1.<|im_end|>"


def test_an_adapter_says_where_to_stop_without_a_merged_copy(train: Train) -> None:
    from transformers import AutoTokenizer, GenerationConfig

    folder = completed(train(model="chatml", **LORA))
    end = AutoTokenizer.from_pretrained(folder).convert_tokens_to_ids("<|im_end|>")
    assert end in GenerationConfig.from_pretrained(folder).eos_token_id


def test_a_generation_configuration_with_a_fault_of_its_own_is_kept(train: Train) -> None:
    folder = completed(train(model="faulty"))
    said = json.loads((folder / "generation_config.json").read_text())
    assert said["temperature"] == 0.6
    assert len(said["eos_token_id"]) == 2


def test_a_merged_copy_that_would_not_answer_as_the_adapter_is_not_offered(train: Train) -> None:
    """Embeddings that are the head too: the adapter changes the one, the sum would change both."""
    lora = {**LORA["lora_config"], "target_modules": ["embed_tokens"]}  # type: ignore[dict-item]
    run = train(**{**LORA, "lora_config": lora}, merge_adapter=True, learning_rate=0.1)
    folder = completed(run)
    assert not (folder / "merged").exists()
    assert "whose embeddings are its head too" in warnings_of(run)["not_merged"]
    assert "there is no merged copy" in (folder / "README.md").read_text()


def test_an_adapter_names_its_base_as_the_request_does_and_loads_where_it_has_moved(
    train: Train, models: Path, tmp_path: Path
) -> None:
    run = train(**LORA, of_model={"revision": "main"})
    folder = completed(run)
    config = json.loads((folder / "adapter_config.json").read_text())
    assert (config["base_model_name_or_path"], config["revision"]) == ("tiny", "main")
    moved = shutil.copytree(models / "tiny", tmp_path / "elsewhere")
    assert load_adapter(moved, folder).active_adapters
    card = (folder / "README.md").read_text()
    assert 'AutoModelForCausalLM.from_pretrained("tiny", revision="main")' in card
    assert f"when this was trained it lay in `{models / 'tiny'}`" in card


def test_everybody_who_can_read_the_card_can_read_the_weights(train: Train) -> None:
    folder = completed(train(**LORA, merge_adapter=True))
    files = [path for path in folder.rglob("*") if path.is_file()]
    card = (folder / "README.md").stat().st_mode
    assert {path.stat().st_mode for path in files} == {card}
    assert folder / "merged" / "model.safetensors" in files


@pytest.mark.parametrize(
    ("training", "dtype"), [({}, "bfloat16"), ({"save_dtype": "float32"}, "float32")]
)
def test_a_result_is_of_the_base_model_s_dtype_or_the_one_asked_for(
    train: Train, training: dict[str, Any], dtype: str
) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    run = train(model="half", **training)
    folder = completed(run)
    assert AutoModelForCausalLM.from_pretrained(folder).dtype == getattr(torch, dtype)
    assert run.outcome.result["dtype"] == dtype
    why = "as asked" if training else "the base model's own"
    assert f"The result is saved in {dtype}, {why} (it was trained in float32)" in run.log
    merged = completed(train(model="half", **LORA, merge_adapter=True, **training)) / "merged"
    assert AutoModelForCausalLM.from_pretrained(merged).dtype == getattr(torch, dtype)


def test_a_result_is_not_verified_if_the_request_says_so(train: Train) -> None:
    run = train(verify_result=False)
    assert run.outcome.outcome == "completed", run.log
    assert "verify" not in [phase.name for phase in run.of(Phase)]
    assert "verify_result is false" in warnings_of(run)["not_verified"]


@pytest.mark.parametrize(
    ("fault", "said"),
    [("no_memory", "too little memory to load it again"), ("no_time", "took longer than 0.3 s")],
)
def test_what_cannot_be_verified_is_kept_and_said(
    fault: str, said: str, train: Train, preloaded: Preloaded
) -> None:
    preloaded.faults += (fault,)
    run = train()
    assert run.outcome.outcome == "completed", run.log
    assert said in warnings_of(run)["not_verified"]
    assert (run.job_dir / "model" / "model.safetensors").is_file()


def test_an_attempt_that_was_not_heard_leaves_its_result_to_the_next(train: Train) -> None:
    """Killed between the result and `completed`, an attempt is made again from its checkpoint."""
    first = completed(train(job_id="unheard"))
    weights = (first / "model.safetensors").read_bytes()
    (first.parent / "model.partial").mkdir()
    second = train(job_id="unheard", attempt=2)
    assert completed(second) == first
    assert (first / "model.safetensors").read_bytes() == weights
    assert sorted(path.name for path in first.parent.glob("model*")) == ["model"]


REFUSED = {
    "stops_elsewhere": ("a generation would run to its limit", {"model": "chatml"}),
    "stops_nowhere": ("passes over its end", BY_HEART),
    "lost_weight": ("lack model.layers.1.mlp.down_proj.weight", {}),
    "lost_weights_file": ("cannot be loaded: OSError", {}),
    "stale_weights": ("its logits differ from the trained model's", {}),
    "idle_adapter": ("its logits differ from the trained model's", LORA),
    "another_scale": ("its logits differ from the trained model's", LORA),
    "another_dtype": ("its weights are float32, not bfloat16", {"model": "half"}),
    "another_dtype_said": ("config.json says torch.float32", {"model": "half"}),
    "lost_template": ("has no chat template", {}),
    "another_template": ("its chat template makes", {}),
}
"""By the fault, what the job says, and what it trains."""


_OF_A_KIND = ("lost_weights_file", "another_scale", "another_dtype_said", "another_template")
"""Found by the same look as another one of the table."""


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(fault, marks=[pytest.mark.slow] if fault in _OF_A_KIND else [])
        for fault in REFUSED
    ],
)
def test_a_result_that_is_not_what_was_trained_is_refused(
    fault: str, train: Train, preloaded: Preloaded
) -> None:
    said, training = REFUSED[fault]
    preloaded.faults += (fault,)
    assert said in refused(train(**training))


@pytest.mark.parametrize("fault", ["merged_without_adapter", "merged_written_wrong"])
def test_a_merged_copy_that_is_none_is_taken_away(
    fault: str, train: Train, preloaded: Preloaded
) -> None:
    preloaded.faults += (fault,)
    run = train(**LORA, merge_adapter=True, learning_rate=0.1)
    assert not (completed(run) / "merged").exists()
    assert "its logits differ" in warnings_of(run)["not_merged"]


MUTATIONS: dict[str, tuple[Callable[..., None], dict[str, Any]]] = {
    "stops_elsewhere": (test_an_answer_known_by_heart_stops_at_its_end, {}),
    "private_files": (test_everybody_who_can_read_the_card_can_read_the_weights, {}),
    "another_dtype": (
        test_a_result_is_of_the_base_model_s_dtype_or_the_one_asked_for,
        {"training": {}, "dtype": "bfloat16"},
    ),
    "base_by_path": (
        test_an_adapter_names_its_base_as_the_request_does_and_loads_where_it_has_moved,
        {},
    ),
    "kept_beside": (test_an_attempt_that_was_not_heard_leaves_its_result_to_the_next, {}),
    "merged_without_check": (
        test_a_merged_copy_that_would_not_answer_as_the_adapter_is_not_offered,
        {},
    ),
    "strict_generation_config": (
        test_a_generation_configuration_with_a_fault_of_its_own_is_kept,
        {},
    ),
    "not_verified": (
        test_a_result_that_is_not_what_was_trained_is_refused,
        {"fault": "stale_weights"},
    ),
}
"""By the fault that is put back, the test that turns red."""


@pytest.mark.slow
@pytest.mark.parametrize("fault", MUTATIONS)
def test_a_fault_that_is_put_back_turns_its_test_red(
    fault: str, preloaded: Preloaded, request: pytest.FixtureRequest
) -> None:
    test, arguments = MUTATIONS[fault]
    wanted = inspect.signature(test).parameters.keys() - arguments.keys()
    fixtures = {name: request.getfixturevalue(name) for name in wanted}
    preloaded.faults = (fault,)
    with pytest.raises(AssertionError):
        test(**fixtures, **arguments)

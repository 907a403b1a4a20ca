"""Answers of a loaded model: what it reads, where it ends, and what is never loaded."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from tasks.errors import TrainingError
from tasks.generation.answer import Answers, token_ids
from tasks.generation.loaded import load
from tests.support.requests import request_body
from trainyard.contract.events import TrainingSpec
from trainyard.contract.generation.messages import AskedOfJob, GenerateBody, GenerationSpec


@pytest.fixture
def home(tmp_path: Path, models: Path) -> Path:
    """A job whose result is its base model."""
    folder = tmp_path / "jobs" / "j"
    shutil.copytree(models / "tiny", folder / "model")
    write_request(folder, "sft")
    return folder


def write_request(folder: Path, method: str) -> None:
    body = request_body("j")
    body["config"] = {"model": {"name": "tiny"}, "training": {"method": method}}
    folder.joinpath("request.json").write_text(json.dumps(body))


def spec(home: Path, models: Path, **question: Any) -> GenerationSpec:
    asked = AskedOfJob(job_id="j", attempt=1, question=GenerateBody(**question))
    job = TrainingSpec(
        job_id="j",
        attempt=1,
        slot="s",
        job_dir=str(home),
        cache_dir=str(home),
        dataset_roots=[],
        model_roots=[str(models)],
    )
    return GenerationSpec(asked=asked, job=job)


def answer(said: GenerationSpec, *, cancelled: bool = False) -> tuple[str, Any]:
    heard: list[Any] = []
    Answers(heard.append, lambda: cancelled).answer(said)
    return "".join(one.text for one in heard if one.kind == "text"), heard[-1]


def test_a_question_goes_through_the_chat_template_and_a_document_s_beginning_does_not(
    home: Path, models: Path
) -> None:
    asked = spec(home, models, prompt="Hello")
    chat = load(asked)
    written = chat.tokenizer.apply_chat_template(
        [{"role": "user", "content": "Hello"}], tokenize=False, add_generation_prompt=True
    )
    ids = chat.tokenizer(written, add_special_tokens=False)["input_ids"]
    assert token_ids(asked.asked.question, chat) == ids
    as_it_stands = chat.tokenizer("Hello")["input_ids"]
    write_request(home, "cpt")
    assert token_ids(asked.asked.question, load(asked)) == as_it_stands
    write_request(home, "sft")
    for went_through, read in ((True, ids), (False, as_it_stands)):
        (home / "data.json").write_text(json.dumps({"chat_template": went_through}))
        assert token_ids(asked.asked.question, load(asked)) == read


def test_a_seed_makes_an_answer_again_and_an_end_token_ends_it(home: Path, models: Path) -> None:
    warm = {"prompt": "Hello", "temperature": 1.0, "max_tokens": 12}
    first, again, other = (answer(spec(home, models, **warm, seed=n))[0] for n in (1, 1, 2))
    assert first == again != other
    _, greedy = answer(spec(home, models, prompt="Hello", max_tokens=3))
    assert (greedy.reason, greedy.completion_tokens) == ("length", 3)
    loaded = load(spec(home, models, prompt="Hello"))
    file = home / "model" / "model.safetensors"
    weights = load_file(file)
    weights["lm_head.weight"] = weights["model.embed_tokens.weight"] * 0
    save_file(weights, file, metadata={"format": "pt"})
    config = home / "model" / "config.json"
    untied = {**json.loads(config.read_text()), "tie_word_embeddings": False}
    config.write_text(json.dumps({**untied, "eos_token_id": 0}))  # the first of equals
    text, done = answer(spec(home, models, prompt="Hello"))
    assert (done.reason, done.completion_tokens) == ("stop", 1)
    assert text == ""
    assert loaded.places is not None


def test_nobody_waits_any_more(home: Path, models: Path) -> None:
    _, done = answer(spec(home, models, prompt="Hello", max_tokens=500), cancelled=True)
    assert (done.reason, done.completion_tokens) == ("cancelled", 1)


def test_a_question_that_is_longer_than_the_model_s_places_is_refused(
    home: Path, models: Path
) -> None:
    with pytest.raises(TrainingError, match=r"The question has \d+ tokens, and the model has"):
        answer(spec(home, models, prompt="Hello " * 5000))


def test_a_link_out_of_the_job_s_folder_and_pickled_weights_are_not_loaded(
    home: Path, models: Path
) -> None:
    (home / "checkpoints").mkdir()
    (home / "checkpoints" / "checkpoint-4").symlink_to(models / "tiny")
    said = "has no checkpoints/checkpoint-4 on this host. `trainyard checkpoints j` lists those"
    with pytest.raises(TrainingError, match=said):
        load(spec(home, models, prompt="x", checkpoint="checkpoints/checkpoint-4"))
    (home / "model" / "adapter_config.json").write_text("{}")
    with pytest.raises(TrainingError, match=r"has no adapter_model\.safetensors"):
        load(spec(home, models, prompt="x"))

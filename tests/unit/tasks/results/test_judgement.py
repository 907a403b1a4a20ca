"""Verdicts in words: made where something is to be known, and nowhere else."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest

from tasks.datasets.mix.report import MixReport, SetReport
from tasks.datasets.report import Report
from tasks.results.judgement import judge_course, judge_data, judge_model
from tests.support.callbacks import RecordingChannel, run_over
from trainyard.contract.events import Warnings
from trainyard.contract.verdicts import VERDICTS_MAX, VerdictKind


def said(channel: RecordingChannel) -> list[tuple[str, str]]:
    """What the supervisor knows in the end."""
    sent = [event for event in channel.sent if isinstance(event, Warnings)]
    return [(v.kind.value, v.sentence) for v in sent[-1].warnings] if sent else []


def evals(*losses: float, every: int = 10) -> list[dict[str, Any]]:
    return [{"step": every * n, "eval_loss": loss} for n, loss in enumerate(losses, start=1)]


def trainer(history: list[dict[str, Any]]) -> Any:
    config = SimpleNamespace(get_text_config=lambda: SimpleNamespace(vocab_size=1000))
    state = SimpleNamespace(log_history=history)
    return SimpleNamespace(state=state, model=SimpleNamespace(config=config))


@pytest.mark.parametrize(
    ("losses", "sentence"),
    [
        ((6.5, 6.12, 7.22), "eval loss rose after step 20 (6.12) to 7.22: overfitting; the saved "
         "model is the one of step 25"),
        ((6.5, 6.12, 6.13), ""),
        ((6.5, 7.22, 6.12), ""),
        ((), ""),
    ],
)  # fmt: skip
def test_a_loss_that_rose(losses: tuple[float, ...], sentence: str) -> None:
    channel = RecordingChannel()
    judge_course(run_over(channel), trainer(evals(*losses)), saved=25)
    mend = "; config.training.load_best_model_at_end: true keeps the best one"
    assert said(channel) == ([("overfitting", sentence + mend)] if sentence else [])


@pytest.mark.parametrize(("keeps_best", "saved"), [(True, 30), (False, 20)])
def test_who_keeps_the_best_is_not_told_to(keeps_best: bool, saved: int) -> None:
    channel = RecordingChannel()
    run = run_over(channel, load_best_model_at_end=keeps_best)
    judge_course(run, trainer(evals(6.5, 6.12, 7.22)), saved=saved)
    [(_, sentence)] = said(channel)
    assert sentence.endswith(f"the saved model is the one of step {saved}")


@pytest.mark.parametrize(
    ("first", "method", "random"),
    [
        ({"step": 1, "loss": math.log(1000)}, "sft", True),
        ({"step": 0, "eval_loss": math.log(1000)}, "cpt", True),
        ({"step": 1, "loss": 0.5 * math.log(1000)}, "sft", False),
        ({"step": 1, "loss": 9.9}, "dpo", False),
        ({"step": 7, "loss": 9.9}, "sft", False),
    ],
)
def test_a_base_that_knows_nothing(first: dict[str, Any], method: str, random: bool) -> None:
    channel = RecordingChannel()
    judge_course(run_over(channel, method=method), trainer([first]), saved=9)
    assert [kind for kind, _ in said(channel)] == (["random_base"] if random else [])


def test_an_adapter_says_how_much_it_trains_and_where() -> None:
    weights = [SimpleNamespace(numel=lambda: 1_200_000, requires_grad=True)]
    weights += [SimpleNamespace(numel=lambda: 1_234_800_000, requires_grad=False)]
    names = [f"layers.{n}.self_attn.{name}" for n in range(2) for name in ("q_proj", "k_proj")]
    model = SimpleNamespace(
        peft_config={},
        parameters=lambda: weights,
        named_parameters=lambda: zip(("a.lora_A.weight", "a.weight"), weights, strict=True),
        targeted_module_names=names,
        targeted_parameter_names=[],
    )
    channel = RecordingChannel()
    judge_model(run_over(channel), SimpleNamespace(model=model))
    assert said(channel) == [
        ("trained_part", "LoRA: 1.2 M of 1,236 M parameters trained, on q_proj, k_proj")
    ]
    judge_model(run_over(channel), SimpleNamespace(model=object()))
    assert len(said(channel)) == 1, "a model that is trained whole needs no word"


def test_what_the_data_set_s_check_warned_of_and_evals_without_a_row() -> None:
    report = Report("a.jsonl", "sft", rows=20, dropped=16, longer=17, max_length=8, duplicates=1)
    data: Any = SimpleNamespace(report=report, eval=None)
    channel = RecordingChannel()
    run = run_over(channel, early_stopping_patience=2)
    for _ in range(2):
        judge_data(run, data)
    assert [kind for kind, _ in said(channel)] == ["rows_dropped", "rows_cut", "data", "no_eval"]
    sentences = [sentence for _, sentence in said(channel)]
    assert sentences[0].startswith("16 of 20 rows dropped: max_length (8 tokens)")
    assert sentences[1] == "1 of 20 rows cut off at max_length (8 tokens)"
    assert sentences[3].startswith("config.training.early_stopping_patience is set, but no row")


@pytest.mark.parametrize(("rows", "kind"), [(object(), "best_not_saved"), (None, "no_eval")])
def test_evals_that_no_checkpoint_is_of(rows: object, kind: str) -> None:
    data: Any = SimpleNamespace(report=Report("a.jsonl", "sft", rows=20), eval=rows)
    channel = RecordingChannel()
    judge_data(run_over(channel, eval_steps=9, save_steps=20), data)
    assert [kind for kind, _ in said(channel)] == [kind]


def test_warnings_of_many_data_sets_leave_room_for_others() -> None:
    report = MixReport("all", "sft")
    report.sets = [SetReport(f"{n}.jsonl", "sft", rows=9, duplicates=1) for n in range(30)]
    channel = RecordingChannel()
    judge_data(run_over(channel), SimpleNamespace(report=report, eval=None))  # type: ignore[arg-type]
    assert said(channel)[0] == ("data", "0.jsonl: 1 row repeat an earlier row")
    assert said(channel)[-1] == ("data", "20 more warnings of the data's check stand in the log")
    assert len(said(channel)) == 11
    assert "Warning: 29.jsonl: 1 row repeat an earlier row" in list(report.lines())


def test_there_are_no_more_than_twenty() -> None:
    channel = RecordingChannel()
    run = run_over(channel)
    for number in range(VERDICTS_MAX + 5):
        run.verdicts.add(VerdictKind.DATA, f"row {number}")
    assert len(said(channel)) == VERDICTS_MAX
    assert said(channel)[-1] == ("data", f"row {VERDICTS_MAX - 1}")

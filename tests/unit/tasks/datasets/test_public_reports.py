"""What people of this job met in public: what is trained on, between ⟦ and ⟧.

Each case names the reports that it stands for; the templates are in the style of their families.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from docs.reference.templates import trl_templates
from tasks.datasets.read_data import read_data
from tasks.datasets.report import Report
from tasks.datasets.sources.locate import DownloadLimits, locate_dataset
from tasks.datasets.training_data import tokenise_data
from tasks.models.chat_template import simple_chat_template
from tests.support.learned import (
    AS_TEXT,
    ASKED,
    CALLS,
    IS_4,
    PIRATE,
    RESULT,
    THINKS,
    WARM,
    WEATHER,
    answer,
    chat,
    family_tokenizer,
    learned,
    part,
    user,
)
from tests.support.tokenizers import make_tokenizer, tokenizer_of
from trainyard.contract.config import JobConfig

SYSTEM = "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
OPEN, ANSWERS, END = "<|im_start|>user\n", "<|im_start|>assistant\n", "<|im_end|>\n"
Q, A = f"{OPEN}What is 2+2?{END}{ANSWERS}", f"⟦It is 4.{END}⟧"
CALLED = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Paris"}}\n</tool_call>'
USED_TOOL = (
    f"{OPEN}Weather in Paris?{END}{ANSWERS}⟦{CALLED}{END}⟧{OPEN}<tool_response>\n20\n"
    f"</tool_response>{END}{ANSWERS}⟦It is warm.{END}⟧"
)
TOOLS = 'TOOLS:\n{"type": "function", "function": {"name": "get_weather"}}'

RIGHT: dict[str, tuple[list[dict[str, Any]], str, str]] = {
    "D01 every turn (slime#1742)": (
        chat(ASKED, IS_4, ASKED, IS_4),
        "qwen3",
        f"{Q}{A}{Q}⟦<think>\n\n</think>\n\nIt is 4.{END}⟧",
    ),
    "D02 earlier reasoning goes, its answer stays (ms-swift#4809)": (
        chat(ASKED, answer(THINKS), ASKED, answer(THINKS)),
        "qwen3",
        f"{Q}{A}{Q}⟦{THINKS}{END}⟧",
    ),
    "D03 ends with the user (LlamaFactory#7777)": (
        chat(ASKED, IS_4, user("Thanks!")),
        "qwen3",
        f"{Q}{A}{OPEN}Thanks!{END}",
    ),
    "D09 text parts (llama-cpp-python#2324)": (
        chat(user(part("What is 2+2?")), answer(part("It is 4."))),
        "llama3",
        "<bos><|start_header_id|>user<|end_header_id|>\n\nWhat is 2+2?<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n⟦It is 4.<|eot_id|>⟧",
    ),
    "D10 text parts": (
        chat(user(part("What is 2+2?")), answer(part("It is 4."))),
        "qwen3",
        f"{Q}⟦<think>\n\n</think>\n\nIt is 4.{END}⟧",
    ),
    "D11 text parts": (
        chat(user(part("What is 2+2?")), answer(part("It is 4."))),
        "mistral3",
        "<bos>[INST] What is 2+2?[/INST]⟦ It is 4.<eos>⟧",
    ),
    "D16 developer (sglang#40082)": (
        chat({**PIRATE, "role": "developer"}, ASKED, IS_4),
        "chatml",
        f"<|im_start|>system\nAnswer like a pirate.{END}{Q}{A}",
    ),
    "D18 arguments as JSON text (oumi#2599)": (
        chat(WEATHER, CALLS, RESULT, WARM),
        "chatml",
        SYSTEM + USED_TOOL,
    ),
    "D22 the assistant begins (axolotl#723)": (
        chat(answer("Hello!"), ASKED, IS_4),
        "chatml",
        f"{SYSTEM}{ANSWERS}⟦Hello!{END}⟧{Q}{A}",
    ),
    "D23 one BOS (unsloth#2648)": (
        [{"prompt": "<bos>What is 2+2? ", "completion": "4"}],
        "llama3",
        "<bos>What is 2+2? ⟦4<|eot_id|>⟧",
    ),
    "D23 one BOS in a text (trl#1400)": (
        [{"text": "<bos>It is 4."}],
        "llama3",
        "<bos>⟦It is 4.<|eot_id|>⟧",
    ),
    "D40 context (databricks-dolly-15k)": (
        [{"instruction": "When?", "context": "In 1971.", "response": "1971", "category": "qa"}],
        "chatml",
        f"{SYSTEM}{OPEN}When?\n\nIn 1971.{END}{ANSWERS}⟦1971{END}⟧",
    ),
    "D51 ShareGPT's function_call (LlamaFactory#5866)": (
        [
            {
                "conversations": [
                    {"from": "human", "value": "Weather in Paris?"},
                    {"from": "function_call", "value": json.dumps(AS_TEXT)},
                    {"from": "observation", "value": "20"},
                    {"from": "gpt", "value": "It is warm."},
                ],
                "tools": '[{"name": "get_weather"}]',
            }
        ],
        "chatml",
        f"<|im_start|>system\n{TOOLS}{END}{USED_TOOL}",
    ),
    "D52 OpenAI's functions": (
        chat(
            *(WEATHER, answer(None, function_call=AS_TEXT)),
            *({"role": "function", "name": "get_weather", "content": "20"}, WARM),
            functions=[{"name": "get_weather"}],
        ),
        "chatml",
        f"<|im_start|>system\n{TOOLS}{END}{USED_TOOL}",
    ),
    "D56 blank input": (
        [{"instruction": "What is 2+2?", "input": " ", "output": "It is 4."}],
        "chatml",
        SYSTEM + Q + A,
    ),
    "D58 no system": (
        chat({"role": "system", "content": None}, ASKED, IS_4),
        "chatml",
        SYSTEM + Q + A,
    ),
    "history, system (LlamaFactory's Alpaca)": (
        [
            {
                **{"instruction": "What is 2+2?", "output": "It is 4.", "system": "Be brief."},
                "history": [["And 1+1?", "2"]],
            }
        ],
        "chatml",
        f"<|im_start|>system\nBe brief.{END}{OPEN}And 1+1?{END}{ANSWERS}⟦2{END}⟧{Q}{A}",
    ),
    "nulls of Arrow's structs": (
        chat({**ASKED, "tool_calls": None, "name": None}, {**IS_4, "tool_calls": None}),
        "chatml",
        SYSTEM + Q + A,
    ),
    "instruction beside messages": (
        chat(ASKED, IS_4, instruction="Be brief."),
        "chatml",
        f"<|im_start|>system\nBe brief.{END}{Q}{A}",
    ),
}


@pytest.mark.parametrize("case", RIGHT)
def test_what_is_trained_on(tmp_path: Path, case: str) -> None:
    rows, family, expected = RIGHT[case]
    report = learned(tmp_path, rows, family)
    assert report.error is None, report.error
    assert report.example is not None
    assert report.example.marked() == [expected]


@pytest.mark.parametrize(
    "flag", [{"weight": 0}, {"weight": 0.0}, {"train": False}, {"loss_mask": 0}, {"masked": True}]
)
def test_an_answer_that_is_marked_as_bad_is_not_trained_on(tmp_path: Path, flag: Any) -> None:
    """D15: openai-cookbook#1074, axolotl#1703, ms-swift."""
    rows = chat(ASKED, answer("It is 5.", **flag), user("Again."), answer("It is 4.", weight=1))
    report = learned(tmp_path, rows)
    expected = f"{SYSTEM}{Q}It is 5.{END}{OPEN}Again.{END}{ANSWERS}{A}"
    assert report.example is not None
    assert report.example.marked() == [expected]


def test_the_last_turn_alone_can_be_trained_on(tmp_path: Path) -> None:
    report = learned(tmp_path, chat(ASKED, IS_4, ASKED, IS_4), train_on="last")
    assert report.example is not None
    assert report.example.marked() == [f"{SYSTEM}{Q}It is 4.{END}{Q}{A}"]


DPO: dict[str, tuple[dict[str, Any], str]] = {
    "D41 input (LlamaFactory#6509)": (
        {"instruction": "Translate:", "input": "good", "chosen": "bon", "rejected": "hola"},
        f"{SYSTEM}{OPEN}Translate:\n\ngood{END}{ANSWERS}⟦bon{END}⟧",
    ),
    "D42 system (orca_dpo_pairs)": (
        {"system": "Be brief.", "question": "What is 2+2?", "chosen": "4", "rejected": "5"},
        f"<|im_start|>system\nBe brief.{END}{Q}⟦4{END}⟧",
    ),
    "D42 tools": (
        {
            "conversations": [{"from": "human", "value": "What is 2+2?"}],
            "chosen": {"from": "gpt", "value": "4"},
            "rejected": {"from": "gpt", "value": "5"},
            "tools": '[{"name": "get_weather"}]',
        },
        f"<|im_start|>system\n{TOOLS}{END}{Q}⟦4{END}⟧",
    ),
    "D49 question": (
        {"question": "What is 2+2?", "chosen": "4", "rejected": "5"},
        f"{SYSTEM}{Q}⟦4{END}⟧",
    ),
    "D54 (Anthropic/hh-rlhf)": (
        {
            "chosen": "\n\nHuman: What is 2+2?\n\nAssistant: 4",
            "rejected": "\n\nHuman: What is 2+2?\n\nAssistant: 5",
        },
        f"{SYSTEM}{Q}⟦4{END}⟧",
    ),
    "parts": (
        {"prompt": [ASKED], "chosen": [answer(part("4"))], "rejected": [answer(part("5"))]},
        f"{SYSTEM}{Q}⟦4{END}⟧",
    ),
}


@pytest.mark.parametrize("case", DPO)
def test_what_pairs_are_trained_on(tmp_path: Path, case: str) -> None:
    row, expected = DPO[case]
    report = learned(tmp_path, [row], method="dpo")
    assert report.error is None, report.error
    assert report.example is not None
    assert report.example.marked()[0] == expected


def test_what_the_template_leaves_out_by_its_design_is_a_warning(tmp_path: Path) -> None:
    """D02: the reasoning of earlier turns."""
    report = learned(tmp_path, chat(ASKED, answer(THINKS), ASKED, answer(THINKS)), "qwen3")
    said = "the chat template leaves out the reasoning of earlier turns in 1 row"
    assert report.warnings == [said]


@pytest.mark.parametrize(
    ("family", "said"),
    [("gemma", "answers end with <end_of_turn>"), ("noeos", "does not learn to stop")],
)
def test_an_end_that_the_model_does_not_stop_at_is_a_warning(
    tmp_path: Path, family: str, said: str
) -> None:
    """D24: trl#2059, LlamaFactory#7454."""
    [warning] = learned(tmp_path, chat(ASKED, IS_4), family).warnings
    assert said in warning


def test_our_own_template_begins_with_the_token_that_the_tokenizer_adds() -> None:
    for adds_bos in (False, True):
        tokenizer = make_tokenizer(adds_bos=adds_bos)
        tokenizer.chat_template = simple_chat_template(tokenizer)
        text = tokenizer.apply_chat_template([ASKED], tokenize=False)
        assert text.startswith("<bos>### Instruction" if adds_bos else "### Instruction")


def test_documents_of_a_folder_begin_and_end_once(tmp_path: Path) -> None:
    """D76: smollm#110, Qwen#394."""
    folder = tmp_path / "books"
    folder.mkdir()
    (folder / "a.txt").write_text("One.\n\nTwo.\n\nThree.\n")
    (folder / "b.txt").write_text("Four.\n\nFive.\n")
    config = JobConfig.model_validate({"model": {"name": "-"}, "training": {"method": "cpt"}})
    report, tokenizer = Report("books", "cpt"), tokenizer_of("mistral3")
    found = locate_dataset(str(folder), None, ["/"], tmp_path / "cache")
    read = read_data(found, config, tmp_path / "cache", report, DownloadLimits())
    data = tokenise_data(
        *(read, config, tokenizer, report),
        **{"max_length": 512, "add_eos": True, "cache_dir": tmp_path / "cache"},
    )
    tokens = [token for row in data.train.dataset["input_ids"] for token in row]
    text = tokenizer.decode(tokens)
    assert text == "<bos>One.\n\nTwo.\n\nThree.\n\n<eos><bos>Four.\n\nFive.\n\n<eos>"


def test_a_known_template_gives_way_to_its_variant_unless_told_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """D01, D02 with the real template: the variant keeps the reasoning of every turn."""
    monkeypatch.setattr(family_tokenizer("qwen3"), "chat_template", trl_templates()["qwen3"])
    rows = chat(ASKED, answer(THINKS), ASKED, answer(THINKS))
    found = {told: learned(tmp_path, rows, "qwen3", training_template=told) for told in (0, 1)}
    for told, report in found.items():
        assert report.example is not None
        [text] = report.example.marked()
        assert text.count("Two and two.") == 1 + told
        assert len(report.warnings) == 1 - told
        assert any("TRL has a variant" in note for note in report.notes) == bool(told)

"""What columns mean: recognised, told, or refused; and the same rows in every shape."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.datasets.parts import open_parts
from tasks.datasets.row_kinds import ROW_KINDS, kind_for, rows_of, shape_of
from tasks.datasets.shapes.format import format_row
from tasks.datasets.shapes.problems import EmptyRow, RowProblem
from tasks.datasets.shapes.shape import needs, recognise_shape
from tasks.datasets.shapes.values import is_blank
from tasks.datasets.tokens.render import Rendered, Rendering, render
from tasks.datasets.tokens.tokenise import ChosenRows, tokenise
from tasks.errors import DatasetError
from tasks.models.chat_template import SIMPLE_CHAT_TEMPLATE
from tests.support.data_files import write_table
from trainyard.contract.config import DataConfig

# ---------------------------------------------------------------- the same rows in every shape


def turns(question: str, answer: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]


SHAPES: dict[str, Callable[[str, str], dict[str, Any]]] = {
    "question/answer": lambda q, a: {"question": q, "answer": a},
    "instruction/output": lambda q, a: {"instruction": q, "output": a},
    "instruction/input/output": lambda q, a: {"instruction": q, "input": "", "output": a},
    "instruction/input/response": lambda q, a: {"Instruction": q, "Input": "", "Response": a},
    "openorca": lambda q, a: {"id": 1, "system_prompt": "", "question": q, "response": a},
    "messages": lambda q, a: {"messages": turns(q, a)},
    "messages as text": lambda q, a: {"messages": json.dumps(turns(q, a))},
    "conversations": lambda q, a: {
        "conversations": [{"from": "human", "value": q}, {"from": "gpt", "value": a}]
    },
    "conversations of text": lambda q, a: {
        "conversations": [{"from": "human", "text": q}, {"from": "gpt", "text": a}]
    },
    "prompt/completion of messages": lambda q, a: {
        "prompt": turns(q, a)[:1],
        "completion": turns(q, a)[1:],
    },
    "a text and its answer in messages": lambda q, a: {"prompt": q, "completion": turns(q, a)[1:]},
}

TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=60).filter(
    lambda text: not is_blank(text)
)


def rendered(row: dict[str, Any], tokenizer: Any) -> Rendered:
    training_row = format_row(row, recognise_shape(list(row)))
    stored = {**dict.fromkeys(ROW_KINDS["answers"].columns), "row": 1, **training_row}
    [found] = render([stored], Rendering(tokenizer, add_eos=False))
    assert isinstance(found, Rendered)
    return found


@settings(max_examples=150, deadline=None)
@given(question=TEXT, answer=TEXT)
def test_every_shape_of_one_exchange_is_the_same_to_the_model(
    tokenizer: Any, question: str, answer: str
) -> None:
    wanted = rendered({"messages": turns(question, answer)}, tokenizer)
    [(begin, end)] = wanted.trained
    assert wanted.text[begin:end] == f"{answer}<eos>\n\n"
    for name, make in SHAPES.items():
        assert rendered(make(question, answer), tokenizer) == wanted, name
    # Prompt and completion as texts are joined as they are: the rendered parts give the same.
    joined = rendered({"prompt": wanted.text[:begin], "completion": wanted.text[begin:]}, tokenizer)
    assert (joined.text, joined.trained) == (wanted.text, wanted.trained)


ROWS = [("What is 1 plus 2?", "3"), ('Quote "this",\nplease; ok?', "None"), ("Grüße 你好", "🙂 NA")]


@pytest.mark.parametrize("how", ["jsonl", "csv", "parquet"])
@pytest.mark.parametrize("shape", list(SHAPES))
def test_every_shape_in_every_format_gives_the_same_tokens(
    tokenizer: Any, tmp_path: Path, shape: str, how: str
) -> None:
    def tokens(name: str, rows: list[dict[str, Any]], how: str) -> list[dict[str, Any]]:
        [part] = open_parts(write_table(tmp_path / f"{name}.{how}", rows), tmp_path / "cache")
        found = rows_of(part, shape_of(part, DataConfig()), tmp_path / "cache")
        assert found.bad == 0, found.problems
        every = numpy.arange(len(rows))
        chosen = ChosenRows(found.dataset, every, 200, tmp_path / "cache", found.key)
        return list(tokenise(chosen, Rendering(tokenizer)).dataset)

    wanted = tokens("wanted", [SHAPES["messages"](q, a) for q, a in ROWS], "jsonl")
    assert len(wanted) == 3
    assert tokens("other", [SHAPES[shape](q, a) for q, a in ROWS], how) == wanted


# ---------------------------------------------------------------- told


QA, PC = ["question", "answer"], ["prompt", "completion"]


@pytest.mark.parametrize(
    ("columns", "dataset_format", "expected"),
    [
        ([*QA, "text"], "text", ["text"]),
        (PC, "question_answer", PC),
        (PC, "qa", PC),
        ([*QA, *PC], "prompt-completion", PC),
        ([*QA, *PC], "qa", QA),
        (["instruction", "output", *QA], "alpaca", ["instruction", "output"]),
        (["messages", "conversations"], "ShareGPT", ["conversations"]),
        (["messages", "conversations"], "openai", ["messages"]),
        ([*QA, "messages"], "qa", QA),
        (["messages", "text"], "chat", ["messages"]),
        (["messages", "text"], "text", ["text"]),
    ],
)
def test_dataset_format_tells_the_shape(
    columns: list[str], dataset_format: str, expected: list[str]
) -> None:
    shape = recognise_shape(columns, DataConfig(dataset_format=dataset_format))
    assert list(shape.columns.values()) == expected
    assert (shape.name == "prompt_completion") == (dataset_format == "prompt-completion")


def test_a_format_that_the_columns_do_not_have_is_refused() -> None:
    with pytest.raises(DatasetError, match=r"dataset_format 'sharegpt'.*'question', 'answer'"):
        recognise_shape(["question", "answer"], DataConfig(dataset_format="sharegpt"))


def test_a_text_field_that_is_not_there_is_refused_but_for_every_client_s_default() -> None:
    with pytest.raises(DatasetError, match=r"'body'.*'question', 'answer'"):
        recognise_shape(["question", "answer"], DataConfig(text_field="body"))
    assert recognise_shape(["question", "answer"], DataConfig(text_field="text")).name == "dialogue"


def test_prompt_and_completion_told_as_question_and_answer_go_through_the_template() -> None:
    told = {"question": "prompt", "answer": "completion"}
    assert recognise_shape(["prompt", "completion"], DataConfig(columns=told)).name == "dialogue"


# ---------------------------------------------------------------- refused


@pytest.mark.parametrize(
    "columns",
    [
        ["question", "answer", "response"],
        ["instruction", "input", "output", "response"],
        ["prompt", "completion", "response"],
        ["question", "answer", "prompt", "completion"],
        ["messages", "conversations"],
        ["messages", "text"],
    ],
)
def test_columns_that_can_be_read_in_two_ways_are_refused(columns: list[str]) -> None:
    with pytest.raises(DatasetError, match=r"more than one way: .* or ") as caught:
        recognise_shape(columns)
    assert all(repr(column) in caught.value.sentence for column in columns)
    assert "config.data.columns" in caught.value.mend


@pytest.mark.parametrize(
    ("columns", "title"),
    [
        (["instruction", "input", "output", "text"], "instruction/input/output"),
        (["instruction", "input", "output", "prompt"], "instruction/input/output"),
        (["prompt", "prompt_id", "messages"], "messages"),
        (["id", "conversations", "system", "tools"], "conversations"),
        (["input", "output"], "input/output"),
        (["text"], "text"),
        (["Instruction", "Output"], "instruction/output"),
        (["messages", "score"], "messages"),
        (["prompt", "completion", "text"], "prompt/completion"),
    ],
)
def test_known_shapes_with_other_columns_beside_them_are_told_apart(
    columns: list[str], title: str
) -> None:
    assert recognise_shape(columns).title() == title


def test_the_error_is_short_and_lists_columns_three_rows_and_what_the_method_needs(
    tmp_path: Path,
) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps({"price": n, "size": "x" * 500}) + "\n" for n in range(5)))
    [part] = open_parts(path, tmp_path / "cache")
    with pytest.raises(DatasetError, match="'price', 'size'") as caught:
        shape_of(part, DataConfig())
    said = caught.value.sentence
    assert [f'[{n}] {{"price": {n - 1}' in said for n in (1, 2, 3, 4)] == [True, True, True, False]
    assert "sft needs" in caught.value.mend and "prompt and completion" in caught.value.mend
    assert len(f"{said} {caught.value.mend}") < 650


@pytest.mark.parametrize(
    ("method", "columns", "told"),
    [
        ("sft", ["id", "questions", "answer_text"], ("questions", "answer_text")),
        ("sft", ["ticket", "body"], ("YOURS", "YOURS")),
        ("sft", ["Question", "Réponse"], ("Question", "YOURS")),
        ("sft", ["requested", "unanswered"], ("YOURS", "YOURS")),
        ("dpo", ["prompt", "chosen", "reject"], ("prompt", "chosen", "reject")),
        ("cpt", ["plain text"], ("plain text",)),
    ],
)
def test_columns_that_are_called_nearly_right_are_named(
    method: str, columns: list[str], told: tuple[str, ...]
) -> None:
    said = needs(method, columns)
    [roles] = re.findall(r"config\.data\.columns, as in (\{.*\})", said)
    assert tuple(json.loads(roles).values()) == told


PAIRS, CHAT = ["prompt", "chosen", "rejected"], ["id", "conversations"]


@pytest.mark.parametrize(
    ("method", "columns", "first"),
    [
        ("sft", PAIRS, "preference pairs: send config.training.method dpo or orpo"),
        ("sft", ["Chosen", "Rejected"], "preference pairs: send config.training.method dpo"),
        ("cpt", PAIRS, "preference pairs: send config.training.method dpo or orpo"),
        ("rlhf", ["chosen", "rejected"], "preference pairs: send config.training.method dpo"),
        ("dpo", PC, "prompt/completion: send config.training.method sft or rlhf"),
        ("orpo", QA, "question/answer: send config.training.method sft or rlhf"),
        ("dpo", CHAT, "conversations: send config.training.method sft"),
        ("dpo", ["text"], "text: send config.training.method sft or cpt"),
        ("rlhf", ["text"], "text: send config.training.method sft or cpt"),
        ("cpt", ["instruction", "output"], "instruction/output: send config.training.method sft"),
        ("sft", ["prompt"], "prompts without answers: send config.training.method rlhf"),
        ("dpo", ["prompt", "id"], "prompts without answers: send config.training.method rlhf"),
    ],
)
def test_data_of_another_method_s_shape_name_that_method_first(
    tmp_path: Path, method: str, columns: list[str], first: str
) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text((json.dumps(dict.fromkeys(columns, "words")) + "\n") * 2)
    [part] = open_parts(path, tmp_path / "cache")
    with pytest.raises(DatasetError) as caught:
        shape_of(part, DataConfig(), method)
    assert caught.value.mend.startswith(f"This looks like {first}")
    [right] = re.findall(r"method (\w+)", caught.value.mend)[:1]
    assert shape_of(part, DataConfig(), right), "what is named does take it"


@pytest.mark.parametrize(
    ("method", "columns"),
    [
        ("sft", ["price", "size"]),
        ("sft", ["question", "answer", "response"]),
        ("sft", ["prompt", "chosen"]),
        ("dpo", ["prompt", "chosen"]),
        ("orpo", ["prompt", "rejected"]),
    ],
)
def test_data_of_no_other_shape_are_not_sent_to_another_method(
    method: str, columns: list[str]
) -> None:
    with pytest.raises(DatasetError) as caught:
        kind_for(method).recognise(columns, DataConfig(), method)
    assert "looks like" not in caught.value.mend


def test_columns_told_for_another_method_name_that_method_first() -> None:
    told = {"chosen": "good", "rejected": "bad"}
    with pytest.raises(DatasetError, match="'chosen', 'rejected', which make no row") as caught:
        recognise_shape(["good", "bad"], DataConfig(columns=told))
    assert caught.value.mend.startswith("This looks like preference pairs: send config.training")


# ---------------------------------------------------------------- rows


@pytest.mark.parametrize(
    ("row", "problem", "said"),
    [
        ({"messages": []}, EmptyRow, "is empty"),
        ({"messages": [{"role": "user", "contents": "a"}]}, RowProblem, "content, but 'contents'"),
        ({"messages": None}, EmptyRow, "is missing"),
        ({"messages": turns("a", "  ")}, EmptyRow, "assistant's message is empty"),
        ({"messages": turns("a", "b")[:1]}, RowProblem, "no assistant"),
        ({"messages": [{"role": "assisstant", "content": "b"}]}, RowProblem, "'assisstant'"),
        ({"messages": "[{'role': 'user'}]"}, RowProblem, "no JSON list"),
        ({"messages": [{"role": "assistant", "content": {"a": 1}}]}, RowProblem, "an object"),
        ({"question": "a", "answer": " "}, EmptyRow, "is empty"),
        ({"question": "a", "answer": True}, RowProblem, "true or false where text"),
        ({"messages": turns("a", "b"), "tools": "{"}, RowProblem, "'tools'"),
    ],
)
def test_a_row_that_cannot_be_trained_on_says_why(
    row: dict[str, Any], problem: type[RowProblem], said: str
) -> None:
    with pytest.raises(problem, match=said) as caught:
        format_row(row, recognise_shape(list(row)))
    assert type(caught.value) is problem
    assert caught.value.mend.endswith(".")


def test_a_system_column_opens_the_conversation(tokenizer: Any) -> None:
    row = {"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]}
    with_system = rendered({**row, "system": "Be brief."}, tokenizer)
    assert with_system.text == "Be brief.\n\n" + rendered(row, tokenizer).text
    orca = {"system_prompt": "Be brief.", "question": "q", "response": "a"}
    assert rendered(orca, tokenizer) == with_system


def test_tools_reach_the_chat_template(tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    template = "{% if tools %}{{ tools[0].function.name }}: {% endif %}" + SIMPLE_CHAT_TEMPLATE
    monkeypatch.setattr(tokenizer, "chat_template", template)
    row = {"messages": turns("q", "a")}
    for tools in ([{"name": "clock"}], '[{"name": "clock"}]'):
        found = rendered({**row, "tools": tools}, tokenizer)
        assert found.text.startswith("clock: ### Instruction")
        assert found.text[slice(*found.trained[0])] == "a<eos>\n\n"
    assert rendered({**row, "tools": None}, tokenizer).text.startswith("### Instruction")


def test_rows_that_the_chat_template_refuses_are_told_from_the_others(
    tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    strict = (
        "{% if messages and messages[0].role == 'system' %}"
        "{{ raise_exception('no system') }}{% endif %}"
    )
    monkeypatch.setattr(tokenizer, "chat_template", strict + SIMPLE_CHAT_TEMPLATE)
    chats = [turns("a", "b"), [{"role": "system", "content": "s"}, *turns("a", "b")]]
    rows = [
        {**dict.fromkeys(ROW_KINDS["answers"].columns), "row": n, "messages": json.dumps(chat)}
        for n, chat in enumerate(chats)
    ]
    fine, refused = render(rows, Rendering(tokenizer, add_eos=False))
    assert isinstance(fine, Rendered)
    assert isinstance(refused, RowProblem)
    assert "no system" in str(refused)

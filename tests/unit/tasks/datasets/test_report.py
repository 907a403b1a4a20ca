"""What the check of a data set finds, in the process that a command or a job starts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tasks.datasets.check import CheckSpec, as_typed, check
from tasks.datasets.readers.problems import ReadProblem
from tasks.datasets.report import Report, histogram
from tasks.datasets.shapes.shape import needs
from tests.support.file_server import FileServer
from tests.support.paths import SHARED_DATA
from tests.support.prepared_data import checked
from tests.support.requests import start_request
from tests.support.training import write_jsonl

real = pytest.mark.skipif(not SHARED_DATA.is_dir(), reason="the shared data sets are not here")


@pytest.fixture(scope="module")
def model(tiny_model: Path) -> str:
    return str(tiny_model)


QA = [{"question": f"What is {n} plus 1?", "answer": f"The answer is {n + 1}."} for n in range(20)]


def test_a_fine_data_set(tmp_path: Path, model: str) -> None:
    path = write_jsonl(tmp_path / "a.jsonl", QA)
    data = {"train_split": 0.8}
    report = checked(path, tmp_path / "cache", model=model, data=data)
    assert (report.exit_code, report.error, report.warnings) == (0, None, [])
    assert (report.rows, report.shape) == (20, "question/answer")
    assert report.splits == {"train": 16, "eval": 4}
    assert sum(report.lengths.values()) == 20
    assert report.example is not None
    marked = "### Instruction:\nWhat is 0 plus 1?\n\n### Response:\n⟦The answer is 1.<eos>\n\n⟧"
    assert checked(path, tmp_path / "cache", model=model).example.marked() == [marked]  # type: ignore[union-attr]
    assert report.tokens is not None and report.trained_tokens is not None
    assert 0 < report.trained_tokens < report.tokens
    assert report.lines()


def test_the_sums_of_rows_that_cannot_be_used_add_up_and_the_shape_has_one_name(
    tmp_path: Path,
) -> None:
    path = write_jsonl(tmp_path / "a.jsonl", [*QA, {"question": "q", "answer": ""}])
    with path.open("a") as file:
        file.write("no JSON\n")
    report = checked(path, tmp_path / "cache", model=None)
    said = "read as question/answer (instruction = question, answer = answer); 20 can be used"
    lines = list(report.lines())
    assert f"Rows       22, {said}" in lines
    assert "Empty      1 row; 0 repeat an earlier one" in lines
    assert "Files      a.jsonl (21); rows that cannot be read: 1" in lines
    assert "read as question/answer (" in report.hint
    assert "dialogue" not in "".join(lines)


def test_a_data_set_by_url_is_checked_where_the_settings_allow_it(tmp_path: Path) -> None:
    content = write_jsonl(tmp_path / "a.jsonl", QA).read_bytes()
    with FileServer(files={"/a.jsonl": content}) as server:
        spec = CheckSpec(
            path=server.url("/a.jsonl"),
            config=start_request(model={"name": "-"}).config,
            with_model=False,
            model_roots=[],
            cache_dir=str(tmp_path / "cache"),
        )
        assert "private address" in str(check(spec).error)
        small = {"allow_private_urls": True, "max_download_gb": 1e-6}
        assert "MAX_DOWNLOAD_GB" in check(spec.model_copy(update=small)).hint
        report = check(spec.model_copy(update={"allow_private_urls": True}))
        assert (report.exit_code, report.rows) == (0, 20)


def test_without_a_model_it_says_what_is_missing(tmp_path: Path) -> None:
    report = checked(write_jsonl(tmp_path / "a.jsonl", QA), tmp_path / "cache")
    assert (report.exit_code, report.unit, report.tokens) == (0, "characters", None)
    assert "Without --model" in report.notes[0]
    assert report.lengths == {64: 20}, "33 to 64: 'What is 0 plus 1?' and 'The answer is 1.'"
    assert report.example is not None
    assert report.example.marked() == [
        "user: What is 0 plus 1?\nassistant: ⟦The answer is 1.⟧\n",
    ]


def test_bad_rows_are_an_error_and_skipping_them_a_warning(tmp_path: Path, model: str) -> None:
    bad: list[dict[str, Any]] = [{"question": "only"}, {"question": "x", "answer": ["no text"]}]
    path = write_jsonl(tmp_path / "a.jsonl", [*QA, *bad, QA[0]])
    report = checked(path, tmp_path / "cache", model=model)
    assert report.exit_code == 2
    assert (report.rows, report.problem_count, report.empty, report.duplicates) == (23, 2, 1, 1)
    assert [(problem.line, problem.reason) for problem in report.problems] == [
        (21, "'answer' is missing"),
        (22, "'answer' holds a list where text is needed"),
    ]
    assert report.tokens, "the rest is counted all the same"
    skipped = checked(path, tmp_path / "cache", model=model, data={"skip_bad_rows": True})
    assert (skipped.exit_code, skipped.splits) == (1, {"train": 21, "eval": 0})
    assert any("2 of 23 rows cannot be used and are left out" in said for said in skipped.warnings)


def test_splits_count_no_row_that_the_template_refuses(tmp_path: Path, model: str) -> None:
    asked = {"role": "user", "content": "?"}
    answers = ({"content": "a"}, {"content": "b", "reasoning_content": "c"})
    chats = [{"messages": [asked, {"role": "assistant", **answer}]} for answer in answers]
    path = write_jsonl(tmp_path / "a.jsonl", chats)
    report = checked(path, tmp_path / "cache", model=model, data={"skip_bad_rows": True})
    assert (report.rows, report.problem_count) == (2, 1)
    assert report.splits == {"train": 1, "eval": 0}


def test_blank_rows_of_a_table_are_empty_rows(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text('question,answer\n"q",a\n,\n,,\n \n"r",b\n')
    report = checked(path, tmp_path / "cache")
    assert (report.rows, report.empty, report.problem_count) == (4, 2, 2)


def test_rows_that_cannot_be_read_are_counted_with_the_others(tmp_path: Path, model: str) -> None:
    path = tmp_path / "a.jsonl"
    lines = [json.dumps(row) for row in QA]
    path.write_text("\n".join([*lines[:3], '{"question": "cut', lines[3], '{"question": "?"}']))
    report = checked(path, tmp_path / "cache", model=model)
    assert (report.exit_code, report.rows, report.problem_count) == (2, 6, 2)
    assert [problem.line for problem in report.problems] == [4, 6]
    assert report.splits == {"train": 4, "eval": 0}
    skipped = checked(path, tmp_path / "cache", model=model, data={"skip_bad_rows": True})
    assert (skipped.exit_code, skipped.trained_tokens) == (1, report.trained_tokens)


def test_a_quote_that_is_never_closed_is_no_row_to_leave_out(tmp_path: Path) -> None:
    lines = ["question,answer", *(f"What is {n}?,It is {n}." for n in range(2, 21))]
    lines[7] = lines[7].replace(",", ',"')
    (tmp_path / "a.csv").write_text("\n".join(lines))
    report = checked(tmp_path / "a.csv", tmp_path / "cache", data={"skip_bad_rows": True})
    assert (report.exit_code, report.rows) == (2, 0)
    said = "Line 8 of 'a.csv': a quote that opens in this row is never closed, so that lines 8 to"
    assert said in str(report.error)
    assert report.hint.startswith("Close the quote there")


def test_a_data_set_of_bad_rows_alone_names_them(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("".join('{"question": "cut\n' for _ in range(30)))
    report = checked(path, tmp_path / "cache", data={"skip_bad_rows": True})
    assert (report.exit_code, report.problem_count, len(report.problems)) == (2, 30, 20)
    assert "30 of 30 rows" in str(report.error)


def test_the_first_twenty_problems_are_named_and_all_counted(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "a.jsonl", [*QA, *({"question": str(n)} for n in range(50))])
    report = checked(path, tmp_path / "cache")
    assert (report.problem_count, len(report.problems)) == (50, 20)
    assert sum("'answer' is missing" in line for line in report.lines()) == 21, "and the verdict"


def test_what_max_length_cuts_and_drops(tmp_path: Path, model: str) -> None:
    rows = [{"prompt": "x" * 60, "completion": "y"}, {"prompt": "a", "completion": "b" * 60}]
    path = write_jsonl(tmp_path / "a.jsonl", [*rows, {"prompt": "a", "completion": "b"}])
    report = checked(path, tmp_path / "cache", model=model, training={"max_length": 40})
    assert (report.longer, report.dropped, report.exit_code) == (2, 1, 1)
    assert report.as_json()["cut_off_share"] == pytest.approx(2 / 3, abs=1e-6)
    nothing = checked(
        write_jsonl(tmp_path / "b.jsonl", rows[:1]),
        tmp_path / "cache",
        model=model,
        training={"max_length": 40},
    )
    assert nothing.exit_code == 2
    assert "max_length (40 tokens) leaves none of the 1 rows" in str(nothing.error)
    assert nothing.lengths, "how long they are is what the person needs to know"


def test_loss_on_everything_can_be_asked_for(tmp_path: Path, model: str) -> None:
    path = write_jsonl(tmp_path / "a.jsonl", QA)
    answers = checked(path, tmp_path / "cache", model=model)
    training = {"completion_only_loss": False}
    whole = checked(path, tmp_path / "cache", model=model, training=training)
    assert answers.tokens == whole.tokens
    assert whole.trained_tokens == whole.tokens - 20, "the first token is never predicted"  # type: ignore[operator]
    assert whole.example is not None
    assert whole.example.marked()[0].startswith("⟦### Instruction:")


@pytest.mark.parametrize("method", ["dpo", "orpo"])
def test_preferences_show_both_answers(tmp_path: Path, model: str, method: str) -> None:
    rows = [
        {"prompt": f"Is {n} odd? ", "chosen": "Yes.", "rejected": "No."} for n in range(1, 9, 2)
    ]
    path = write_jsonl(tmp_path / "a.jsonl", rows)
    report = checked(path, tmp_path / "cache", model=model, training={"method": method})
    assert (report.exit_code, report.shape) == (0, "preference")
    assert report.example is not None
    assert report.example.marked() == ["Is 1 odd? ⟦Yes.<eos>⟧", "Is 1 odd? ⟦No.<eos>⟧"]
    wrong = checked(path, tmp_path / "cache", model=model)
    assert wrong.exit_code == 2
    assert "'prompt', 'chosen', 'rejected'" in str(wrong.error)


def test_a_format_that_is_not_known_is_noted(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "a.jsonl", QA)
    report = checked(path, tmp_path / "cache", data={"dataset_format": "fancy"})
    assert (report.exit_code, "'fancy'" in report.notes[0]) == (0, True)
    assert len(checked(path, tmp_path / "cache", data={"dataset_format": "sft"}).notes) == 1


@pytest.mark.parametrize("text", ["", "[]", "\x00\x01\x02\xff"])
def test_what_cannot_be_read_is_a_whole_report_too(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.json").write_bytes(text.encode("latin-1"))
    report = checked(tmp_path / "a.json", tmp_path / "cache")
    assert report.exit_code == 2
    found = json.loads(json.dumps(report.as_json()))
    assert (found["rows"], found["splits"], found["usable"]) == (0, {}, False)
    assert {"shape", "problems"} <= set(found)
    assert found["error"]


def test_the_files_that_are_used_and_those_left_out_are_listed(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    folder.mkdir()
    write_jsonl(folder / "train.jsonl", QA)
    write_jsonl(folder / "test.jsonl", [{"question": "new", "answer": "yes"}])
    (folder / "more.xlsx").write_bytes(b"PK\x05\x06" + bytes(18))
    (folder / "README.md").write_text("About it.")
    report = checked(folder, tmp_path / "cache")
    found = report.as_json()
    assert (report.exit_code, report.leaked) == (1, 0)
    assert found["files"] == [
        {"file": "train.jsonl", "split": "train", "rows": 20},
        {"file": "test.jsonl", "split": "eval", "rows": 1},
    ]
    assert [(file["file"], file["expected"]) for file in found["files_left_out"]] == [
        ("README.md", True),
        ("more.xlsx", False),
    ]
    lines = list(report.lines())
    assert "Files      train.jsonl (20), test.jsonl (1, eval)" in lines
    assert any(line.startswith("Warning: 1 file is left out: 'more.xlsx'") for line in lines)


def test_rows_that_evaluate_what_was_trained_on_are_counted(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    folder.mkdir()
    write_jsonl(folder / "train.jsonl", QA)
    write_jsonl(folder / "test.jsonl", [*QA[:3], {"question": "new", "answer": "yes"}])
    report = checked(folder, tmp_path / "cache")
    assert (report.exit_code, report.leaked, report.as_json()["leaked"]) == (1, 3, 3)
    assert "3 rows of the eval split are in the train split, too" in report.warnings
    twice = write_jsonl(tmp_path / "twice.jsonl", [*QA, *QA])
    assert checked(twice, tmp_path / "cache", data={"eval_split": 0.1}).leaked > 0
    once = write_jsonl(tmp_path / "once.jsonl", QA)
    assert checked(once, tmp_path / "cache", data={"eval_split": 0.5}).leaked == 0


def test_columns_and_message_keys_that_are_not_used_are_listed(tmp_path: Path, model: str) -> None:
    chat = [
        {"role": "user", "content": "Hi", "mood": "gay"},
        {"role": "assistant", "content": "Ho", "name": "bot"},
    ]
    path = write_jsonl(tmp_path / "a.jsonl", [{"messages": chat, "id": 7, "source": "web"}] * 2)
    plain = checked(path, tmp_path / "cache")
    assert plain.as_json()["unused_columns"] == ["id", "source"]
    assert plain.as_json()["unused_message_keys"] == ["mood"]
    with_template = checked(path, tmp_path / "cache", model=model)
    assert with_template.used.message_keys == ["mood", "name"]
    assert "Not used   columns id, source; message keys mood, name" in list(with_template.lines())


@pytest.mark.parametrize(
    ("names", "method", "chat"),
    [
        (("question", "answer"), "sft", True),
        (("prompt", "completion"), "sft", False),
        (("question", "answer"), "rlhf", True),
        (("prompt", "completion"), "rlhf", False),
    ],
)
def test_rows_that_miss_the_model_s_chat_template_are_said(
    tmp_path: Path, model: str, names: tuple[str, str], method: str, chat: bool
) -> None:
    rows = [dict(zip(names, (f"{n}+1?", str(n + 1)), strict=True)) for n in range(6)]
    path = write_jsonl(tmp_path / "a.jsonl", rows)
    rlhf = {"reward_functions": ["answer"], "max_completion_length": 16}
    training = {"method": method, **({"rlhf": rlhf} if method == "rlhf" else {})}
    report = checked(path, tmp_path / "cache", model=model, training=training)
    assert report.as_json()["chat_template"] is chat
    assert any("without the model's chat template" in note for note in report.notes) is not chat


def test_a_question_that_is_to_be_trained_on_is_said(tmp_path: Path) -> None:
    chat = [
        {"role": "user", "content": "Hi", "train": True},
        {"role": "assistant", "content": "Ho", "train": True},
    ]
    path = write_jsonl(tmp_path / "a.jsonl", [{"messages": chat}] * 2)
    assert checked(path, tmp_path / "cache").used.message_keys == ["train of the user"]


def test_what_is_said_to_people_names_the_command_s_own_options() -> None:
    assert "--column question=YOURS --column 'answer=The answer'" in as_typed(
        needs("sft", ["id", "The answer"])
    )
    assert "--column prompt=YOURS --column chosen=chosen --column rejected=YOURS" in as_typed(
        needs("dpo", ["chosen"])
    )
    assert "config." not in as_typed(needs("sft"))


@pytest.mark.parametrize("told", ["{no object}", '{"a": "}', "{}"])
def test_a_row_that_speaks_as_the_report_does_stops_nothing(told: str) -> None:
    as_typed(f"The first rows: config.data.columns, as in {told}")


def test_a_model_that_is_not_there_is_named(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "a.jsonl", QA)
    report = checked(path, tmp_path / "cache", model="./no/model")
    assert (report.exit_code, report.rows) == (2, 20)
    assert "No such model" in str(report.error)


@pytest.mark.parametrize("path", ["nowhere.jsonl", "../nowhere.jsonl", "/no/where"])
def test_a_path_that_is_not_there_is_named(tmp_path: Path, path: str) -> None:
    report = checked(Path(path), tmp_path / "cache")
    assert (report.exit_code, report.error) == (2, f"No such file or folder: {path!r}.")


def test_what_steers_a_terminal_is_not_printed(tmp_path: Path) -> None:
    rows = [{"text": "\x1b[2J gone \x07"}, {"text": "\x9b31m"}]
    report = checked(write_jsonl(tmp_path / "a.jsonl", rows), tmp_path / "cache")
    printed = "\n".join(report.lines())
    assert "\\x1b[2J gone \\x07" in printed
    assert not {"\x1b", "\x07", "\x9b"} & set(printed)


def test_histogram_covers_every_length_once() -> None:
    assert histogram({}) == []
    assert histogram({1: 2, 2: 1, 3: 1, 4: 1, 16: 3}) == [
        (0, 1, 2),
        (2, 2, 1),
        (3, 4, 2),
        (5, 8, 0),
        (9, 16, 3),
    ]


def test_every_problem_has_its_place_reason_and_fix_in_json() -> None:
    report = Report("a", "sft")
    report.add_problems(1, [ReadProblem("a.csv", 3, "no end", "Close the quote.")])
    [problem] = report.as_json()["problems"]
    assert {"file", "line", "reason", "fix"} <= set(problem)
    assert problem["file"] == "a.csv"


@real
def test_gsm8k_at_128_tokens_drops_rows_and_never_trains_on_nothing(
    tmp_path: Path, model: str
) -> None:
    training = {"max_length": 128}
    report = checked(
        SHARED_DATA / "gsm8k_test.jsonl", tmp_path / "cache", model=model, training=training
    )
    assert (report.rows, report.exit_code) == (300, 1)
    assert 0 < report.dropped < 300
    assert report.trained_tokens


@real
@pytest.mark.parametrize(
    ("name", "method", "shape", "rows"),
    [
        ("codegen_instruct.json", "sft", "instruction/input/response", 800),
        ("gsm8k_preferences.jsonl", "dpo", "preference", 1163),
        ("tinyshakespeare.txt", "cpt", "text", 7222),
    ],
)
def test_real_data_sets(tmp_path: Path, name: str, method: str, shape: str, rows: int) -> None:
    report = checked(SHARED_DATA / name, tmp_path / "cache", training={"method": method})
    assert (report.shape, report.rows, report.error) == (shape, rows, None)

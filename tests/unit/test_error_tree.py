"""Exception classes of the product: two roots, a mend beside each sentence, all can be pickled."""

from __future__ import annotations

import ast
import builtins
import pickle
from collections.abc import Iterator

import pytest

from tests.unit.test_doors import FILES
from trainyard.client import BridgeError
from trainyard.contract.error_tree import TrainyardError
from trainyard.contract.request import FieldProblem, RequestInvalid

TREE = "trainyard.contract.error_tree"
ENDINGS = ("Error", "Exception", "Warning", "Exit", "Interrupt")
"""Of a library's exception, whose class is not looked up."""


def bases_by_class() -> dict[str, list[str]]:
    """Every class of the product with its bases, all by their full names."""
    return {name: bases for module in FILES for name, bases in _classes(module)}


def _classes(module: str) -> Iterator[tuple[str, list[str]]]:
    nodes = list(ast.walk(ast.parse(FILES[module].read_text())))
    names = {
        alias.asname or alias.name: f"{node.module}.{alias.name}"
        for node in nodes
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    classes = [node for node in nodes if isinstance(node, ast.ClassDef)]
    names |= {node.name: f"{module}.{node.name}" for node in classes}
    for node in classes:
        bases = [ast.unparse(base) for base in node.bases]
        yield names[node.name], [names.get(base, base) for base in bases]


def exception_roots() -> set[str]:
    """Exception classes of ours with a base that is not ours."""
    classes = bases_by_class()

    def is_exception(name: str) -> bool:
        if name in classes:
            return any(map(is_exception, classes[name]))
        found = getattr(builtins, name, None)
        if isinstance(found, type):
            return issubclass(found, BaseException)
        return name.endswith(ENDINGS)

    return {
        name
        for name, bases in classes.items()
        if any(base not in classes and is_exception(base) for base in bases)
    }


def test_every_exception_descends_from_one_of_two_roots() -> None:
    assert exception_roots() == {f"{TREE}.TrainyardError", f"{TREE}.Interruption"}


@pytest.mark.parametrize(
    ("sentence", "mend", "text"),
    [
        ("It is so", "", "It is so"),
        ("It is so", "do that", "It is so: do that"),
        ("It is so.", "Do that.", "It is so. Do that."),
    ],
)
def test_the_text_holds_the_mend(sentence: str, mend: str, text: str) -> None:
    assert str(TrainyardError(sentence, mend)) == text


@pytest.mark.parametrize(
    "error",
    [
        BridgeError("It is refused.", 409, mend="Wait."),
        RequestInvalid([FieldProblem(path="seed", message="should be a number")]),
    ],
)
def test_an_error_with_a_constructor_of_its_own_pickles(error: TrainyardError) -> None:
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), str(copy), vars(copy)) == (type(error), str(error), vars(error))

"""Instruction data set, a real one, from this machine's own Python standard library.

    python -m tasks.demo.stdlib_dataset --out stdlib.jsonl [--rows 2000]

One row for each function with a docstring: ``instruction`` is its signature and docstring,
``output`` its body. The same Python gives the same file. Needs no network and no package.
"""

from __future__ import annotations

import argparse
import ast
import json
import random
import sys
import sysconfig
import textwrap
import warnings
from collections.abc import Iterator
from pathlib import Path

DEFAULT_ROWS = 2000
LONGEST_INSTRUCTION = 220
LONGEST_OUTPUT = 220
"""Characters; longer functions are left out, so that a small model reads whole rows."""
_LEFT_OUT = {"test", "tests", "idlelib", "lib2to3", "site-packages", "__pycache__", "turtledemo"}

Function = ast.FunctionDef | ast.AsyncFunctionDef


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="the JSONL file to write")
    parser.add_argument("--rows", type=int, default=DEFAULT_ROWS, help="at most this many rows")
    arguments = parser.parse_args()
    rows = stdlib_rows(Path(sysconfig.get_paths()["stdlib"]))
    random.Random(0).shuffle(rows)  # noqa: S311  (the same rows each time)
    rows = rows[: arguments.rows]
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    arguments.out.write_text("".join(lines), encoding="utf-8")
    print(f"{len(rows)} functions of Python {sys.version.split()[0]}'s standard library")


def stdlib_rows(library: Path) -> list[dict[str, str]]:
    """Rows of every documented function beneath ``library``, in order of file and line."""
    rows: dict[str, dict[str, str]] = {}
    for path in sorted(library.rglob("*.py")):
        if _LEFT_OUT.intersection(path.relative_to(library).parts):
            continue
        for row in file_rows(path):
            rows.setdefault(row["instruction"], row)
    return list(rows.values())


def file_rows(path: Path) -> Iterator[dict[str, str]]:
    """Rows of one source file."""
    try:
        source = path.read_text(encoding="utf-8")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # old files have invalid escapes
            tree = ast.parse(source)
    except (UnicodeDecodeError, SyntaxError, ValueError):
        return  # the library has a few files of other encodings or with wrong syntax on purpose
    lines = source.splitlines()
    for node in ast.walk(tree):
        if isinstance(node, Function):
            row = function_row(node, lines)
            if row is not None:
                yield row


def function_row(node: Function, lines: list[str]) -> dict[str, str] | None:
    """The row of one function; None if it has no docstring, no body, or is too long."""
    docstring = ast.get_docstring(node)
    if not docstring or len(node.body) < 2:
        return None
    signature = f"{'async ' * isinstance(node, ast.AsyncFunctionDef)}def {node.name}"
    signature += f"({ast.unparse(node.args)}):"
    # Whole lines, so that comments and layout stay as a person wrote them.
    body = textwrap.dedent("\n".join(lines[node.body[0].end_lineno : node.end_lineno])).strip("\n")
    instruction = f'{signature}\n"""{docstring}"""'
    if not body.strip() or len(instruction) > LONGEST_INSTRUCTION or len(body) > LONGEST_OUTPUT:
        return None
    return {"instruction": instruction, "output": body}


if __name__ == "__main__":
    main()

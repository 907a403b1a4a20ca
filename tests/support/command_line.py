"""The command line in the test's own process."""

from __future__ import annotations

from click.testing import CliRunner, Result

from trainyard.cli import main


def trainyard(*arguments: str, stdin: str | None = None, columns: int = 200) -> Result:
    return CliRunner().invoke(main.main, arguments, input=stdin, env={"COLUMNS": str(columns)})

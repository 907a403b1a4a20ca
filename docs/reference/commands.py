"""Page docs/commands.md, from what `trainyard --help` says."""

from __future__ import annotations

import click

from trainyard.cli.main import main

_WIDTH = 92


def as_markdown() -> str:
    """Every command with its help."""
    parts = ["# Commands", _help(main, None)]
    with click.Context(main, info_name="trainyard") as root:
        for name in main.list_commands(root):
            command = main.get_command(root, name)
            assert command is not None, "the group has just listed it"
            parts += [f"## trainyard {name}", _help(command, root)]
    return "\n\n".join(parts) + "\n"


def _help(command: click.Command, parent: click.Context | None) -> str:
    name = "trainyard" if parent is None else command.name
    context = click.Context(
        command,
        parent=parent,
        info_name=name,
        terminal_width=_WIDTH,
        max_content_width=_WIDTH,
        help_option_names=["-h", "--help"],
    )
    return f"```text\n{command.get_help(context)}\n```"

"""Every command's help as one Markdown page: ``python -m hwnas.cli.reference > docs/cli.md``."""

from __future__ import annotations

import click

from hwnas.cli.main import COMMANDS, cli

__all__ = ["reference"]

_WIDTH = 96


def reference() -> str:
    """The page ``docs/cli.md``; a test holds it to the commands."""
    parts = [
        "# Commands",
        "Made from the commands' own help by `make docs`. Results go to stdout, progress to stderr "
        "and only on a terminal.\nExit codes: 0 done, 1 error, 2 usage, 3 infeasible, "
        "4 verification failed, 5 device unreachable.",
        _section("hwnas", cli),
    ]
    with click.Context(cli, info_name="hwnas", **cli.context_settings) as parent:
        for name in COMMANDS:
            command = cli.get_command(parent, name)
            assert command is not None
            parts += _sections(name, command, parent)
    return "\n\n".join(parts) + "\n"


def _sections(name: str, command: click.Command, parent: click.Context) -> list[str]:
    """The command's own section, then those of the commands that it groups."""
    found = [_section(name, command, parent)]
    if isinstance(command, click.Group):
        with click.Context(command, info_name=name, parent=parent) as context:
            for inner in command.list_commands(context):
                child = command.get_command(context, inner)
                assert child is not None
                found.append(_section(inner, child, context))
    return found


def _section(name: str, command: click.Command, parent: click.Context | None = None) -> str:
    settings = {"terminal_width": _WIDTH, "max_content_width": _WIDTH, **command.context_settings}
    with click.Context(command, info_name=name, parent=parent, **settings) as context:
        title = context.command_path
        text = "\n".join(line.rstrip() for line in command.get_help(context).splitlines())
    return f"## {title}\n\n```text\n{text}\n```"


if __name__ == "__main__":
    print(reference(), end="")

"""``hwnas devices``: the targets that descriptors describe."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import click

from hwnas.cli.output import format_option, print_json, print_table, verdict
from hwnas.cli.reaching import open_shell
from hwnas.errors import HwnasError
from hwnas.profile.descriptor import Descriptor, Listed, list_descriptors, user_folder

__all__ = ["command"]

_AT_ONCE = 8
_TIMEOUT_S = 20.0


@click.command("devices")
@click.option("--probe", is_flag=True, help="Ask each whether it answers.")
@format_option
def command(probe: bool, output: str) -> None:
    """List the targets that --target can name: the built-in ones and your own.

    Your own are *.toml files in the folder that the last line names.
    """
    found = list_descriptors()
    answers: list[str] = [""] * len(found)
    if probe:
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            answers = list(pool.map(_answer, found))
    if output == "json":
        print_json([_as_json(listed, answers[i], probe) for i, listed in enumerate(found)])
        return
    print_table(
        ["name", "kind", "where", "from", *(["answers"] if probe else [])],
        [
            [
                listed.name,
                *_place(listed),
                _whose(listed),
                *([answers[i].partition(":")[0]] * probe),
            ]
            for i, listed in enumerate(found)
        ],
    )
    # Paths and reasons are long: lines of their own, so that the table can be read.
    for i, listed in enumerate(found):
        why = answers[i].removeprefix("no: ")
        for note in [*_notes(listed), *([f"does not answer: {why}"] if why != answers[i] else [])]:
            click.echo(f"{listed.name}: {note}")
    verdict(f"{len(found)} targets, your own are in {user_folder()}", "hwnas doctor NAME")


def _answer(listed: Listed) -> str:
    if isinstance(listed.descriptor, HwnasError):
        return "-"
    try:
        with open_shell(listed.descriptor) as shell:
            shell.run("exit 0", timeout_s=_TIMEOUT_S)
    except HwnasError as error:
        return f"no: {error.cause}"
    return "yes"


def _place(listed: Listed) -> tuple[str, str]:
    """Kind and address."""
    found = listed.descriptor
    if isinstance(found, HwnasError):
        return "-", "-"
    return found.kind, _where(found)


def _where(descriptor: Descriptor) -> str:
    transport = descriptor.transport
    if descriptor.kind == "local":
        return "this machine"
    if descriptor.kind == "adb":
        return transport.serial or "the only one connected"
    user = f"{transport.user}@" if transport.user else ""
    host = f"[{transport.host}]" if ":" in transport.host else transport.host
    return f"{user}{host}{f':{transport.port}' if transport.port else ''}"


def _whose(listed: Listed) -> str:
    return "built-in" if listed.origin.startswith("built-in") else "your own"


def _notes(listed: Listed) -> list[str]:
    if isinstance(listed.descriptor, HwnasError):
        return [f"not usable: {listed.descriptor.cause}", f"fix: {listed.descriptor.fix}"]
    notes = [] if _whose(listed) == "built-in" else [f"from {listed.origin}"]
    notes += ["emulated: nothing that it measures goes into a table"] * listed.descriptor.emulated
    return notes + [f"instead of the {hidden}" for hidden in listed.hides]


def _as_json(listed: Listed, answer: str, probe: bool) -> dict[str, Any]:
    found = listed.descriptor
    usable = isinstance(found, Descriptor)
    return {
        "name": listed.name,
        "from": listed.origin,
        "instead_of": list(listed.hides),
        "descriptor": found.model_dump(mode="json") if isinstance(found, Descriptor) else None,
        "error": None if usable else str(found),
        **({"answers": answer == "yes", "answer": answer} if probe else {}),
    }

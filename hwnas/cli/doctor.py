"""``hwnas doctor``: what would make measurements on a target worse."""

from __future__ import annotations

import click

from hwnas.cli.output import format_option, print_json, quote, verdict
from hwnas.cli.reaching import open_shell
from hwnas.doctor import Examination, examine
from hwnas.profile.descriptor import load_descriptor

__all__ = ["command"]


@click.command("doctor")
@click.argument("target", default="cpu")
@format_option
@click.pass_context
def command(context: click.Context, target: str, output: str) -> None:
    """Probe TARGET: what would make its measurements worse, and what to do about it.

    TARGET is the name of a descriptor (see hwnas devices), ssh://[user@]host[:port][/folder],
    adb://SERIAL, or the path of a descriptor. Nothing is changed there. Exit code 1 if something
    is bad, 5 if the target does not answer.
    """
    descriptor = load_descriptor(target)
    with open_shell(descriptor) as shell:
        found = examine(shell, descriptor)
    if output == "json":
        print_json(
            {
                "target": found.target,
                "worst": found.worst,
                "findings": [vars(finding) for finding in found.findings],
            }
        )
    else:
        _print(found, target)
    if found.worst == "bad":
        context.exit(1)


def _print(found: Examination, target: str) -> None:
    """Not a table: what to type has to be whole, and on one line of its own."""
    for finding in found.findings:
        click.echo(f"{finding.level:<7}  {finding.what}")
        for label, text in (("why", finding.why), ("do", finding.fix)):
            if text:
                click.echo(f"         {label:>3}: {text}")
    counts = {
        level: sum(finding.level == level for finding in found.findings)
        for level in ("bad", "warn", "unknown")
    }
    listed = ", ".join(f"{count} {level}" for level, count in counts.items() if count)
    if found.worst == "bad":
        again = quote("hwnas", "doctor", target)
        verdict(f"{found.target} is not fit to be measured on ({listed})", again)
    else:
        verdict(
            f"{found.target} can be measured on ({listed or 'nothing found'})",
            quote("hwnas", "profile", "NET.hwnas", "--target", target, "-o", "lut.db"),
        )

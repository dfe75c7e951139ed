"""``hwnas``: the group of commands, and how errors leave it.

Exit codes: 0 done, 1 error, 2 usage, 3 infeasible, 4 verification failed, 5 device unreachable.
"""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path

# Before anything can import onnxruntime: its telemetry would be measured along.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import click

from hwnas._version import __version__
from hwnas.errors import HwnasError, MissingExtra
from hwnas.processes import interrupt_on_term

__all__ = ["COMMANDS", "cli", "main"]

COMMANDS = {
    "compile": "Compile a supernet into a bundle of blocks.",
    "inspect": "Show what a bundle holds.",
    "profile": "Measure a bundle's blocks on a target.",
    "lut": "Show, compare, merge, import and export lookup tables.",
    "devices": "List the targets that can be measured on.",
    "doctor": "Say what would make measurements on a target worse.",
    "quality": "Evaluate subnets and predict how good others are.",
    "select": "Choose the subnets that meet budgets.",
    "recalibrate": "Collect batch-norm statistics of subnets' own.",
    "export": "Export subnets as a bundle or as ONNX.",
    "run": "Run one subnet of an exported bundle.",
    "bench": "Compare a bundle with static exports.",
    "config": "Show what C++ programs are built with.",
}
"""Each command, with its line in the overview; ``hwnas.cli.NAME:command`` is imported on use."""


class _Commands(click.Group):
    """Imports a command when it is called, so that ``hwnas run`` does not pay for torch."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"hwnas.cli.{cmd_name}")
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="hwnas")
def cli() -> None:
    """Deploy elastic networks: measure, choose, ship.

    \b
    hwnas compile SUPERNET -o net.hwnas
    hwnas profile net.hwnas --target cpu -o lut.db
    hwnas select  net.hwnas --lut lut.db --max-latency p50=8ms -o plan.json
    hwnas export  net.hwnas --plan plan.json --to bundle -o out/
    hwnas bench   out/
    """  # noqa: D301


def main(args: list[str] | None = None) -> int:
    """Run the command line; returns the exit code.

    What a user can mend is printed as cause and fix, never as a traceback.
    """
    if sys.stdout is None:  # closed by whoever started us
        sys.stdout = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 (for good)
    interrupt_on_term()
    try:
        result = cli.main(args=args, prog_name="hwnas", standalone_mode=False)
    except HwnasError as error:
        return _fail(error.cause, error.fix, error.exit_code)
    except click.Abort:
        return _fail("interrupted", "", 130)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except KeyboardInterrupt:
        return _fail("interrupted", "", 130)
    except BrokenPipeError:
        # The reader of our output went away, as `| head` does; that is not an error.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except ModuleNotFoundError as error:
        if error.name in ("torch", "onnxscript"):
            missing = MissingExtra(error.name, "torch")
            return _fail(missing.cause, missing.fix, missing.exit_code)
        raise
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        return _fail(f"{where}{error.strerror or error}", "check the path and its permissions", 1)
    # Without its standalone mode click returns the code of an Exit instead of raising it.
    return result if isinstance(result, int) else 0


def _fail(cause: str, fix: str, code: int) -> int:
    click.echo(f"error: {cause}", err=True)
    if fix:
        click.echo(f"  fix: {fix}", err=True)
    return code


if __name__ == "__main__":
    sys.exit(main())

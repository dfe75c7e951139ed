"""The tables that ``hwnas bench`` prints, at most 100 columns wide."""

from __future__ import annotations

from statistics import median

import click

from hwnas.bench import Ratio, Report
from hwnas.cli.output import human_bytes, print_table

__all__ = ["print_report"]

_CHAINS = ("native", "python", "onnx-switch")
_LONGEST_NAME = 28
_ROWS = {
    "stock alone": "largest alone, stock session",
    "native alone": "largest alone, native",
    "native": "native chain",
    "native unverified": "native chain, hashes skipped",
    "python": "Python chain",
    "separate": "one stock session per subnet",
    "onnx-switch": "single-file If model",
}


def print_report(report: Report) -> None:
    """Print latency, outputs and switching per subnet, then what the whole artifact takes."""
    _print_latency(report)
    click.echo()
    _print_outputs(report)
    click.echo()
    _print_footprints(report)
    click.echo()
    calls = ", ".join(f"{us:.2f} us {name}" for name, us in report.switch_us.items())
    click.echo(f"switch, the call itself as seen from Python: {calls}")
    if not report.exported:
        click.echo("static sessions were joined from the bundle's own segments (--onnx not given)")
    if report.missing is not None:
        click.echo(f"the native chain was not measured: {report.missing}")


def _chains(report: Report) -> list[str]:
    present = next(iter(report.subnets.values())).contenders
    return [name for name in _CHAINS if name in present]


def _print_latency(report: Report) -> None:
    chains = _chains(report)
    rows = [
        [
            _short(name),
            f"{one.static_ms:.3f}",
            _ratio(one.noise),
            *(_ratio(one.contenders[chain].ratio) for chain in chains),
        ]
        for name, one in report.subnets.items()
    ]
    on = report.device
    threads = f"{on.threads} thread{'s' * (on.threads > 1)}"
    click.echo(f"on {on.cpu} ({on.machine}), {on.runtime} {on.runtime_version}, {threads}")
    click.echo("latency over static: median of paired ratios, and half its 95% interval; two equal")
    click.echo("static sessions are the noise floor, and what one session per subnet would run as")
    print_table(["subnet", "static ms", "two statics", *chains], rows)
    disturbed = sum(one.disturbed for one in report.subnets.values())
    total = disturbed + sum(one.rounds for one in report.subnets.values())
    if disturbed:
        click.echo(f"{disturbed} of {total} rounds were disturbed by other work and left out")
    both = [one.contenders.get("native static") for one in report.subnets.values()]
    found = [one.ratio.value for one in both if one is not None]
    if found:
        click.echo(
            "the same static export, native over stock Python session: "
            f"{min(found):.3f} to {max(found):.3f}"
        )


def _print_outputs(report: Report) -> None:
    chains = _chains(report)
    rows = []
    for name, one in report.subnets.items():
        found = [one.contenders[chain] for chain in chains]
        bits = ["equal" if c.equal else f"{c.max_abs_diff:.1e}" for c in found]
        extra = [one.static_first_run_extra_us, *(c.first_run_extra_us for c in found)]
        rows.append([_short(name), *bits, *("-" if us is None else f"{us:+.0f}" for us in extra)])
    after = [f"{name} us" for name in ("static", *chains)]
    click.echo("outputs against static; first run after another subnet's minus the next run")
    print_table(["subnet", *chains, *after], rows)


def _print_footprints(report: Report) -> None:
    rows = []
    for name, one in report.footprints.items():
        memory = report.memory_ratio(name)
        rows.append(
            [
                _ROWS[name],
                "-" if one.memory is None else human_bytes(one.memory),
                "-" if memory is None else f"{memory:.3f}",
                f"{one.load:.1f}",
                f"{report.load_ratio(name):.2f}",
                f"{median(one.first_ms):.1f}",
                human_bytes(one.bytes),
                f"{report.bytes_ratio(name):.3f}",
            ]
        )
    columns = ["", "memory", "ratio", "load ms", "ratio", "first ms", "bytes", "ratio"]
    click.echo(f"all subnets, over {_short(report.largest)} alone; first: loaded and run once")
    print_table(columns, rows)
    if not any(one.pss_bytes for one in report.footprints.values()):
        click.echo("memory: not available here (no /proc/self/smaps_rollup)")


def _ratio(found: Ratio) -> str:
    return f"{found.value:.3f} ±{found.half:.3f}"


def _short(name: str) -> str:
    return name if len(name) <= _LONGEST_NAME else name[: _LONGEST_NAME - 3] + "..."

"""``hwnas profile``: measure a bundle's blocks into a lookup table, here or on a device."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from hwnas.bundle import Bundle
from hwnas.cli import profile_offline, profile_tables
from hwnas.cli.measuring import (
    Device,
    device_options,
    measuring_bar,
    open_device,
    open_table,
    pinned,
    settings_for,
    whole_jobs,
)
from hwnas.cli.output import format_option, quote
from hwnas.errors import UsageError
from hwnas.files import refuse_overlap
from hwnas.profile import Job, Settings, block_jobs, profile
from hwnas.space import Subnet
from hwnas.table import choose, holdout

__all__ = ["command"]


@click.command("profile")
@click.argument("bundle", type=click.Path(path_type=Path), required=False)
@device_options
@click.option(
    "-o",
    "--output",
    "path",
    type=click.Path(path_type=Path),
    default=Path("lut.db"),
    show_default=True,
    help="The lookup table to write.",
)
@click.option("--resume", is_flag=True, help="Go on with a table that is there.")
@click.option(
    "--retry-failed", is_flag=True, help="With --resume: try what failed or is invalid again."
)
@click.option(
    "--calibrate",
    type=click.IntRange(min=0),
    default=8,
    show_default=True,
    help="Whole subnets to measure, chosen so that predictions gain most from them.",
)
@click.option(
    "--check",
    type=click.IntRange(min=0),
    default=4,
    show_default=True,
    help="Other whole subnets to measure, which predictions are checked on.",
)
@click.option("--subnet", "names", multiple=True, help="Measure this subnet whole, too.")
@click.option(
    "--threads", type=click.IntRange(min=1), help="Threads of one inference.  [default: 1]"
)
@click.option(
    "--affinity",
    help="Cores to pin to, as in 0,1; auto takes the last ones, one per thread; none pins not.  "
    "[default: auto]",
)
@click.option("--provider", help="Execution provider; by default the profiler's own.")
@click.option(
    "--ci",
    type=click.FloatRange(min=0, min_open=True),
    default=2.0,
    show_default=True,
    help="Stop when the 95% confidence interval of the median is narrower than this, in percent.",
)
@click.option(
    "--time-limit",
    type=click.FloatRange(min=0, min_open=True),
    help="Seconds at one item after which it is killed and recorded as failed.  [default: 120]",
)
@click.option("--energy/--no-energy", default=None, help="Joules too, where there is a counter.")
@click.option(
    "--pack",
    type=click.Path(path_type=Path),
    help="Measure nothing: write all that the target needs into this .tar, to be carried there.",
)
@click.option(
    "--run", "job", type=click.Path(path_type=Path), help="On the device: measure a packed job."
)
@click.option(
    "--collect",
    "journal",
    type=click.Path(path_type=Path),
    help="Read what --run has measured (its folder, journal or .tar) into the table.",
)
@format_option
def command(
    bundle: Path | None,
    target: str,
    profiler: str,
    path: Path,
    resume: bool,
    retry_failed: bool,
    calibrate: int,
    check: int,
    names: tuple[str, ...],
    pack: Path | None,
    job: Path | None,
    journal: Path | None,
    output: str,
    **given: Any,
) -> None:
    """Measure every kind of block of BUNDLE on a target, and some subnets whole.

    Kinds are measured in rounds, each in turn, in processes that are killed at the time limit,
    until the median is known well enough. Each result has a verdict: ok, flag, invalid or unknown,
    with the reasons. A run that is cut off goes on with --resume; a kind that fails is a row with
    its error. It ends with predictions against measurements of subnets that were not used to fit.
    """
    if sum(one is not None for one in (pack, job, journal)) > 1:
        raise UsageError("--pack, --run and --collect are three steps", "give one of them")
    if job is not None:
        profile_offline.run(job, output)
        return
    if bundle is None:
        raise UsageError("no BUNDLE to measure", "hwnas profile net.hwnas -o lut.db")
    refuse_overlap(path, [bundle])
    source = Bundle.open(bundle, "space")
    wanted = _wanted(source, calibrate, check, names)
    if journal is not None:
        profile_offline.collect(source, journal, path, resume, wanted.checks, output)
        return
    with open_device(target, profiler) as device:
        given["relative_ci"] = given.pop("ci") / 100
        given["time_limit_s"] = given.pop("time_limit")
        affinity = given.pop("affinity")
        settings = settings_for(device.target.descriptor, affinity, **given)
        if pack is not None:
            profile_offline.pack(wanted.jobs, device, settings, pack, bundle, output)
            return
        settings = pinned(settings, device.target, affinity)
        failed = _measure(source, wanted, device, settings, path, resume, retry_failed, output)
    if failed:
        raise click.exceptions.Exit(1)


@dataclass(frozen=True)
class _Wanted:
    """What is measured: all jobs, and the subnets among them that predictions are checked on."""

    jobs: list[Job]
    checks: list[Subnet]


def _wanted(source: Bundle, calibrate: int, check: int, names: tuple[str, ...]) -> _Wanted:
    space = source.manifest.space
    named = [space.find(name) for name in names]
    fitted = {subnet.spec: subnet for subnet in [*choose(source, calibrate), *named]}
    checks = holdout(source, check, list(fitted.values()))
    whole = whole_jobs(source, [*fitted.values(), *checks])
    once = {job.key: job for job in whole}
    return _Wanted([*block_jobs(source), *once.values()], checks)


def _measure(
    source: Bundle,
    wanted: _Wanted,
    device: Device,
    settings: Settings,
    path: Path,
    resume: bool,
    retry_failed: bool,
    output: str,
) -> int:
    fingerprint = device.target.fingerprint(device.profiler.name, settings)
    emulated = device.target.descriptor.emulated
    with open_table(path, resume, fingerprint, settings, emulated) as lut:
        if retry_failed:
            lut.clear_failures()
        try:
            with measuring_bar() as progress, device.held():
                done = profile(wanted.jobs, lut, device.target, device.profiler, settings, progress)
        except KeyboardInterrupt:
            again_with: list[str | Path] = ["hwnas", "profile", source.path, "-o", path]
            if device.target.name != "cpu":
                again_with += ["--target", device.target.name]
            following = quote(*again_with, "--resume")
            click.echo(f"interrupted; what was measured is kept. Go on: {following}", err=True)
            raise
        words: list[str | Path] = []
        if (device.target.name, device.profiler.name) != ("cpu", "onnxruntime"):
            words = ["--target", device.target.name, "--profiler", device.profiler.name]
        return profile_tables.report(source, lut, wanted.jobs, wanted.checks, done, words, output)

"""``hwnas profile``: measure a bundle's blocks into a lookup table, here or on a device."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from hwnas.bundle import Bundle
from hwnas.cli import profile_offline, profile_tables
from hwnas.cli.measuring import (
    Device,
    device_options,
    given_words,
    measuring_bar,
    open_device,
    open_table,
    pinned,
    sending,
    settings_for,
    whole_jobs,
)
from hwnas.cli.output import format_option, quote
from hwnas.errors import OtherDevice, UsageError
from hwnas.files import refuse_overlap
from hwnas.profile import Fingerprint, Job, Settings, block_jobs, load_descriptor, profile
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
    type=click.FloatRange(min=0, min_open=True, max=100),
    default=2.0,
    show_default=True,
    help="Stop when the 95% confidence interval of the median is narrower than this, in percent.",
)
@click.option(
    "--time-limit",
    type=click.FloatRange(min=0, min_open=True, max=86400),
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
@click.pass_context
def command(
    context: click.Context,
    /,
    bundle: Path | None,
    target: str,
    profiler: str | None,
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
    if retry_failed and not resume:
        raise UsageError("--retry-failed is about a table that is there", "give --resume too")
    if job is not None:
        profile_offline.run(job, output)
        return
    if bundle is None:
        raise UsageError("no BUNDLE to measure", "hwnas profile net.hwnas -o lut.db")
    refuse_overlap(path, [bundle])
    source = Bundle.open(bundle, "space")
    wanted = _wanted(source, calibrate, check, names)
    if journal is not None:
        again = quote("hwnas", "profile", bundle, *given_words(context, "resume", "output"))
        profile_offline.collect(
            source,
            journal,
            path,
            resume,
            wanted.checks,
            output,
            f"{again} --resume",
            load_descriptor(target).limits.max_temperature_c,
        )
        return
    jobs = _jobs(source, wanted)
    with open_device(target, profiler) as device:
        given["relative_ci"] = given.pop("ci") / 100
        given["time_limit_s"] = given.pop("time_limit")
        affinity = given.pop("affinity")
        settings = settings_for(device.target.descriptor, affinity, **given)
        if pack is not None:
            refuse_overlap(pack, [bundle, path])
            if settings.affinity is None and affinity != "none":
                raise UsageError(
                    "which cores the device has is not known while a job is packed",
                    "name cores of the device, as in --affinity 3, or give --affinity none",
                )
            chosen = given_words(context, *_NOT_COLLECTED)
            then = quote("hwnas", "profile", bundle, "--collect", pack, "-o", path, *chosen)
            profile_offline.pack(jobs, device, settings, pack, then, output)
            return
        settings = pinned(settings, device.target, affinity)
        words = given_words(context, "resume", "retry_failed", "path", "output")
        again = quote("hwnas", "profile", bundle, "-o", path, *words, "--resume")
        following = given_words(context, *_NOT_SELECTED)
        run = _Run(
            source, wanted, jobs, device, settings, path, resume, retry_failed, again, following
        )
        failed = _measure(run, output)
    if failed:
        raise click.exceptions.Exit(1)


# What names how to measure has no part in collecting, nor what names what to measure in selecting.
_NOT_COLLECTED = (
    *("profiler", "threads", "affinity", "provider", "ci", "time_limit"),
    *("energy", "pack", "path", "output", "resume", "retry_failed"),
)
_NOT_SELECTED = (*_NOT_COLLECTED[1:], "calibrate", "check", "names")


@dataclass(frozen=True)
class _Wanted:
    """Subnets that are measured whole: those that are fitted on, those that are checked on."""

    fitted: list[Subnet]
    checks: list[Subnet]


def _wanted(source: Bundle, calibrate: int, check: int, names: tuple[str, ...]) -> _Wanted:
    space = source.manifest.space
    named = [space.find(name) for name in names]
    fitted = {subnet.spec: subnet for subnet in [*choose(source, calibrate), *named]}
    chosen = list(fitted.values())
    return _Wanted(chosen, holdout(source, check, chosen))


def _jobs(source: Bundle, wanted: _Wanted) -> list[Job]:
    """All that is measured: every kind of block, and the subnets that are measured whole."""
    whole = whole_jobs(source, [*wanted.fitted, *wanted.checks])
    once = {job.key: job for job in whole}
    return [*block_jobs(source), *once.values()]


@dataclass(frozen=True)
class _Run:
    """What is measured where into what; ``again`` goes on with it, ``following`` are for select."""

    source: Bundle
    wanted: _Wanted
    jobs: list[Job]
    device: Device
    settings: Settings
    path: Path
    resume: bool
    retry_failed: bool
    again: str
    following: list[str]


def _measure(run: _Run, output: str) -> int:
    device, jobs = run.device, run.jobs
    descriptor = device.target.descriptor
    with ExitStack() as table:
        with measuring_bar() as progress, sending(device.target, progress), device.held():
            # What the policy sets is set by now, and before it is met there is no table.
            fingerprint = device.target.fingerprint(device.profiler.name, run.settings)
            _right_runtime(device, fingerprint)
            lut = table.enter_context(
                open_table(run.path, run.resume, fingerprint, run.settings, descriptor.emulated)
            )
            retry = lut.clear_failures if run.retry_failed else None
            try:
                done = profile(
                    jobs, lut, device.target, device.profiler, run.settings, progress, retry
                )
            except KeyboardInterrupt:
                apart = descriptor.kind != "local" and descriptor.policy.governor != "set"
                there = f"; the agent goes on measuring on {device.target.name}" if apart else ""
                click.echo(
                    f"interrupted; what was measured is kept{there}. Go on: {run.again}", err=True
                )
                raise
        return profile_tables.report(
            run.source,
            lut,
            jobs,
            run.wanted.checks,
            done,
            run.following,
            output,
            emulated=descriptor.emulated,
        )


def _right_runtime(device: Device, fingerprint: Fingerprint) -> None:
    wanted, found = device.target.descriptor.runtime, fingerprint.runtime_version
    # What the descriptor says is of the profiler that it names.
    if wanted.name == device.profiler.name and wanted.version not in ("", found):
        raise OtherDevice(
            f"{device.target.name} has {fingerprint.runtime} {found}, its descriptor says "
            f"{wanted.version}",
            "install that version there, or correct version under [runtime]",
        )

"""What a descriptor's policy does about frequency governors while a target is measured."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from hwnas.errors import HwnasError, ProfileError, shorten
from hwnas.profile.descriptor import Descriptor
from hwnas.profile.transport import Result, Transport

__all__ = ["COMMAND", "hold_governor", "read_governors"]

COMMAND: Final = "echo {name} | sudo tee /sys/devices/system/cpu/cpu*/cpufreq/scaling_governor"
"""What a person types on the device to set all governors."""

# In all scripts $1 is where /sys is.
_READ: Final = r"""
for file in "$1"/sys/devices/system/cpu/cpu[0-9]*/cpufreq/scaling_governor; do
    [ -r "$file" ] || continue
    core=${file%/cpufreq/scaling_governor}
    echo "${core##*/cpu} $(head -c 40 "$file")"
done
"""
# $2: a file; then lines to write into it if it is not there. Prints it. It outlives a run that is
# killed or loses its link, so that a later one can put back what was there before both.
_KEEP: Final = r"""
kept=$2; shift 2
case $kept in "~"/*) kept=$HOME${kept#"~"} ;; esac
if [ ! -e "$kept" ]; then
    umask 077
    mkdir -p "${kept%/*}" && printf '%s\n' "$@" >"$kept.part" && mv "$kept.part" "$kept" || exit 1
fi
cat "$kept"
"""
# CORE GOVERNOR, once for each core.
_SET: Final = r"""
cpus=$1/sys/devices/system/cpu; shift
for line; do
    echo "${line#* }" >"$cpus/cpu${line%% *}/cpufreq/scaling_governor"
done
"""
_FORGET: Final = r"""
kept=$2
case $kept in "~"/*) kept=$HOME${kept#"~"} ;; esac
rm -f "$kept"
"""
_LINE: Final = re.compile(r"([0-9]{1,4}) ([a-z][a-z0-9_]{0,31})")


def read_governors(transport: Transport, root: str = "") -> dict[int, str]:
    """Governors by core; empty where the kernel shows none.

    Raises:
        UnreachableDevice: the device does not answer.
    """
    return _parse(transport.run(_READ, root))


@contextmanager
def hold_governor(
    transport: Transport,
    descriptor: Descriptor,
    tell: Callable[[str], None] = lambda line: None,
    root: str = "",
) -> Iterator[Mapping[int, str]]:
    """Do what ``descriptor.policy`` says for as long as the block runs.

    ``set`` puts back what was there when the block ends, by an error or Ctrl-C too. If that
    fails, as the link is lost, ``tell`` is given one line, and the next ``set`` puts it back.

    Args:
        transport: to the device.
        descriptor: its policy, affinity and work folder are used.
        tell: for lines to people.
        root: where the device's ``/sys`` is; empty but for tests.

    Yields:
        Governors by core, as they are meanwhile; empty where there are none to read.

    Raises:
        ProfileError: the governor is not what the policy requires, or cannot be set; names the
            command to type.
        UnreachableDevice: the device does not answer.
    """
    policy, name = descriptor.policy, descriptor.name
    found = read_governors(transport, root)
    if policy.governor == "record":
        yield found
        return
    used = {core: found[core] for core in descriptor.measure.affinity or found if core in found}
    if not used:
        raise ProfileError(
            f"{name} shows no frequency governors, and its policy is to {policy.governor} "
            f"{policy.governor_name!r}",
            'write governor = "record" under [policy] of its descriptor',
        )
    if policy.governor == "require":
        _check(descriptor, used)
        yield found
        return
    with _set(transport, descriptor, used, tell, root):
        yield read_governors(transport, root)


@contextmanager
def _set(
    transport: Transport,
    descriptor: Descriptor,
    used: Mapping[int, str],
    tell: Callable[[str], None],
    root: str,
) -> Iterator[None]:
    kept = f"{descriptor.transport.work}/governors"
    before = dict(used)
    try:
        answer = transport.run(_KEEP, root, kept, *_lines(used))
        if answer.code:
            raise ProfileError(
                f"cannot write {kept} on {descriptor.name}: {_said(answer)}",
                f"see: hwnas doctor {descriptor.name}",
            )
        before.update({core: old for core, old in _parse(answer).items() if core in used})
        wanted = dict.fromkeys(used, descriptor.policy.governor_name)
        answer = transport.run(_SET, root, *_lines(wanted))
        now = read_governors(transport, root)
        _check(descriptor, {core: now.get(core, "gone") for core in used}, _said(answer))
        yield
    finally:
        try:
            transport.run(_SET, root, *_lines(before))
            now = read_governors(transport, root)
            wrong = {core: old for core, old in before.items() if now.get(core) != old}
            if wrong:
                tell(f"{_listed(wrong)} could not be put back on {descriptor.name}")
            else:
                transport.run(_FORGET, root, kept)
        except HwnasError as error:
            tell(f"governors were not put back on {descriptor.name}: {error.cause}")


def _check(descriptor: Descriptor, governors: Mapping[int, str], said: str = "") -> None:
    wanted = descriptor.policy.governor_name
    others = {core: name for core, name in governors.items() if name != wanted}
    if others:
        reason = f"; setting it failed: {said}" if said else ""
        raise ProfileError(
            f"{descriptor.name} does not run with the governor {wanted!r} "
            f"({_listed(others)}){reason}",
            f"type there: {COMMAND.format(name=wanted)}",
        )


def _parse(answer: Result) -> dict[int, str]:
    lines = answer.stdout[:400_000].decode("ascii", "replace").splitlines()
    return {int(found[1]): found[2] for line in lines if (found := _LINE.fullmatch(line.strip()))}


def _lines(governors: Mapping[int, str]) -> list[str]:
    return [f"{core} {name}" for core, name in governors.items()]


def _listed(governors: Mapping[int, str]) -> str:
    return shorten([f"core {core}: {name}" for core, name in governors.items()], 4)


def _said(answer: Result) -> str:
    """The last line of what a script complained of, fit to be shown."""
    lines = answer.stderr[-2000:].decode("utf-8", "replace").strip().splitlines()
    return "".join(c if c.isprintable() else " " for c in lines[-1])[:200] if lines else ""

"""Makes ``lut_vN.db``, N being the schema that this version of hwnas writes. Not run by tests.

Files of older schemas were made by this script as it was then, and stay as they are. Run it from
the root when the schema has changed: ``python -m tests.data.make_lut [FOLDER]``. Two kinds are
measured, one of them twice, one is invalid, one has failed, one whole subnet is there, and one job
is open on a device; all numbers are made up.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from pathlib import Path

from hwnas.profile import Settings
from hwnas.profile.record import Energy, Record, Round, Scope, Turn
from hwnas.table import Lut
from hwnas.table.schema import SCHEMA_VERSION
from tests.support import tables

FINGERPRINT = tables.fingerprint(
    machine="aarch64",
    cpu="Arm 0x41/0xd08 (Raspberry Pi 4 Model B Rev 1.4)",
    flags=("asimd", "crc32", "fp"),
    runtime="onnxruntime",
    runtime_version="1.32.0",
    provider="CPUExecutionProvider",
    cores=4,
    affinity=(3,),
    governor="performance",
    kernel="6.1.0",
    hwnas="0.2.0",
)


@dataclass
class Job:
    """What ``Lut.open_job`` takes."""

    id: str
    document: bytes


def record(key: str, scope: Scope, label: str, us: int) -> Record:
    """Two sittings of 7 rounds, in the second one 1% slower; the last round was throttled."""
    turns, rounds = [], []
    for sitting in (1, 2):
        for number in range(7):
            ns = us * 1000 * (99 + sitting) // 100 + number
            turns.append(
                Turn(sitting, number, ns + ns // 4, (ns, ns + 1, ns + 2), ns * 3, ns * 3, 0)
            )
            throttled = 1 if number == 6 else 0
            readings = {"temperature_c": 50.0 + number}
            rounds.append(Round(sitting, number, (1.0, 1.0 + us / 1e6), throttled, readings))
    return tables.record(
        key,
        scope=scope,
        label=label,
        load_bytes=4_000_000,
        run_bytes=500_000,
        error=1e-6,
        warmup_runs=80,
        turns=tuple(turns),
        rounds=tuple(rounds),
        energy=Energy(1.5, 300, 0.9, "ina3221:VDD_IN"),
    )


def main(beside: Path) -> None:
    """Write the file."""
    path = beside / f"lut_v{SCHEMA_VERSION}.db"
    with Lut.create(path, FINGERPRINT, Settings(relative_ci=0.01)) as lut:
        lut.record(record("a" * 32, "block", "stem/base", 900))
        lut.record(record("a" * 32, "block", "stem/base", 1000))
        flagged = record("b" * 32, "block", "layers.0/h8", 4000)
        lut.record(
            replace(flagged, verdict="flag", reasons=("the clock was lower in 2 of 7 rounds",))
        )
        invalid = record("c" * 32, "block", "layers.0/h16", 6000)
        reason = "outputs are off by 0.11 of their size"
        lut.record(
            replace(invalid, verdict="invalid", reasons=(reason,), error=0.11, outputs_ok=False)
        )
        lut.fail("d" * 32, "block", "head/base", "killed by SIGSEGV")
        whole = record("e" * 32, "subnet", "d1", 5500)
        lut.record(replace(whole, load_bytes=None, run_bytes=None, energy=None))
        lut.open_job(Job("f" * 64, b'{"schema_version": 1}'), "ssh://pi@board")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)

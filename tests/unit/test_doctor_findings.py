"""What facts about a target are taken to mean."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hwnas.agent.sensors.dumpsys import Battery, ThermalService
from hwnas.doctor import Finding
from hwnas.doctor.examine import judge
from hwnas.doctor.facts import Clock, Facts
from hwnas.profile.descriptor import Descriptor, parse_descriptor

HEAD = 'schema_version = 1\nname = "board"\nkind = "ssh"\n[transport]\nhost = "board"\n'
AARCH64 = '[device]\narchitecture = "aarch64"'


def descriptor(text: str = "") -> Descriptor:
    return parse_descriptor(HEAD + text, "board.toml")


def of(findings: list[Finding], what: str) -> Finding:
    found = [finding for finding in findings if what in finding.what]
    assert len(found) == 1, [finding.what for finding in findings]
    return found[0]


def judged(facts: Facts, text: str = "") -> list[Finding]:
    return list(judge(facts, descriptor(text)))


GOOD = Facts(
    system="Linux",
    kernel="6.1",
    architecture="aarch64",
    online=(0, 1, 2, 3),
    allowed=(0, 1, 2, 3),
    memory={"MemAvailable": 2 * 10**9},
    uptime_s=5000.0,
    clocks=tuple(Clock(core, "performance", 1800000, 1800000, 1800000, False) for core in range(4)),
    zones={"cpu-thermal": 45.0},
    throttled=0,
    quota_stops=0,
    libc=("glibc", (2, 36)),
    work="/home/pi",
    work_writable=True,
    work_free=20 * 10**9,
    work_noexec=False,
    tools=frozenset({"sha256sum", "setsid"}),
    telemetry_off=True,
    python={"sys": "3.11.2", "numpy": "2.4.0", "onnxruntime": "1.32.0"},
    busy_cores=0.01,
    stolen_cores=0.0,
)


def test_a_good_board_has_nothing_to_mend() -> None:
    found = judged(GOOD)
    assert {finding.level for finding in found} == {"ok"}
    assert not any(finding.fix for finding in found)


def test_what_is_not_ok_says_what_it_does_and_what_to_do() -> None:
    everything = judged(Facts(), "[measure]\nenergy = true\n[sensors]\nnames = ['rpi']\n")
    assert "ok" not in {finding.level for finding in everything}
    for finding in everything:
        assert finding.why, finding
        assert finding.fix, finding


@pytest.mark.parametrize(
    ("facts", "text", "what", "level"),
    [
        (replace(GOOD, architecture="armv7l"), AARCH64, "armv7l", "bad"),
        (replace(GOOD, architecture="arm64"), AARCH64, "on aarch64", "ok"),
        (replace(GOOD, architecture="riscv64"), "", "riscv64", "warn"),
        (GOOD, "[measure]\naffinity = [3, 9]", "affinity names core 9", "bad"),
        (GOOD, "[measure]\nthreads = 5", "5 threads on 4 cores", "bad"),
        (GOOD, "[measure]\nthreads = 2\naffinity = [3]", "2 threads on 1 core", "bad"),
        (replace(GOOD, allowed=(0,)), "[measure]\nthreads = 2", "2 threads on 1 core", "bad"),
        (replace(GOOD, quota_cores=2.0), "", "quota of 2 cores", "warn"),
        (replace(GOOD, busy_cores=1.5, busiest=(("gcc", 1.2),)), "", "busy (gcc", "warn"),
        (replace(GOOD, stolen_cores=0.3), "", "hypervisor takes 0.30", "warn"),
        (replace(GOOD, work_free=10**8 - 1), "", "MB are free at /home/pi", "bad"),
        (replace(GOOD, work_writable=False), "", "/home/pi may not be written", "bad"),
        (replace(GOOD, tools=frozenset()), "", "sha256sum, setsid", "bad"),
        (replace(GOOD, throttled=0x10000), "", "throttled since boot: under-voltage", "warn"),
        (replace(GOOD, zones={"soc": 71.0}), "[limits]\nmax_temperature_c = 70", "71 C", "bad"),
        (replace(GOOD, zones={}), "", "no temperature", "unknown"),
        (replace(GOOD, throttled=None), "[sensors]\nnames = ['rpi']", "does not say", "unknown"),
        (replace(GOOD, thermal_service=ThermalService("severe")), "", "throttles: severe", "bad"),
        (replace(GOOD, battery=Battery(9, 30.0, False)), "", "battery is at 9%", "warn"),
        (replace(GOOD, telemetry_off=False), "", "telemetry of ONNX Runtime is on", "warn"),
        (GOOD, '[runtime]\nversion = "1.31.0"', "descriptor says 1.31.0", "bad"),
        (replace(GOOD, python={**GOOD.python, "sys": "3.9.2"}), "", "Python 3.9.2", "bad"),
        (
            replace(GOOD, python={}, python_errors={"sys": "python3: not found"}),
            "", "python3 does not start: python3: not found", "bad",
        ),
        (
            replace(GOOD, python={"sys": "3.11.2", "onnxruntime": "1.32.0"}),
            "", "numpy: no answer", "bad",
        ),
        (GOOD, '[runtime]\nagent = "native"', "names no library", "bad"),
        (GOOD, '[runtime]\nlibrary = "/not/there.so"', "/not/there.so cannot be read", "bad"),
        (GOOD, '[measure]\nenergy = true', "there is no counter", "warn"),
        (GOOD, '[device]\nlibc = "glibc 2.31"', "the descriptor says glibc 2.31", "warn"),
        (GOOD, '[sensors]\nnames = ["rapl"]', "sensor rapl: not available here", "unknown"),
        (GOOD, "", "not available here: rapl (", "ok"),
        (replace(GOOD, clocks=()), '[policy]\ngovernor = "set"', "no frequency governors", "bad"),
        (replace(GOOD, clocks=()), "", "no frequency governors", "unknown"),
        (
            replace(GOOD, energy={"rapl": False}),
            "[measure]\nenergy = true", "RAPL may not be read", "warn",
        ),
    ],
)  # fmt: skip
def test_findings(facts: Facts, text: str, what: str, level: str) -> None:
    assert of(judged(facts, text), what).level == level


@pytest.mark.parametrize(
    ("policy", "writable", "level"),
    [
        ("record", False, "warn"),
        ("require", True, "bad"),
        ("set", True, "ok"),
        ("set", False, "bad"),
    ],
)
def test_the_governor_is_judged_by_the_policy(policy: str, writable: bool, level: str) -> None:
    clocks = tuple(Clock(c, "ondemand", 600000, 1800000, 1800000, writable) for c in range(4))
    finding = of(
        judged(replace(GOOD, clocks=clocks), f'[policy]\ngovernor = "{policy}"'), "ondemand"
    )
    assert finding.level == level
    assert ("sudo tee" in finding.fix) == (level != "ok")


def test_only_the_cores_in_use_are_judged() -> None:
    clocks = (Clock(0, "ondemand", 1, 1, 1, False), *GOOD.clocks[1:])
    found = judged(replace(GOOD, clocks=clocks), "[measure]\naffinity = [2]")
    assert of(found, "governor performance").level == "ok"


def test_an_emulated_target_is_said_to_be_one() -> None:
    emulated = parse_descriptor(HEAD.replace("[transport]", "emulated = true\n[transport]"), "x")
    assert of(list(judge(GOOD, emulated)), "emulated").level == "warn"


def test_a_work_folder_where_nothing_may_be_run_stops_the_native_agent_only() -> None:
    facts = replace(GOOD, work_noexec=True)
    assert of(judged(facts, '[runtime]\nagent = "native"'), "noexec").level == "bad"
    assert not any("noexec" in finding.what for finding in judged(facts))


def test_the_firmware_that_does_not_answer_is_said_once() -> None:
    found = judged(replace(GOOD, throttled=None), '[sensors]\nnames = ["rpi", "thermal"]')
    assert of(found, "sensor rpi: not available here").fix


def test_telemetry_is_not_told_of_this_machine_where_this_program_has_switched_it_off() -> None:
    here = parse_descriptor('schema_version = 1\nname = "cpu"\nkind = "local"\n', "cpu.toml")
    for off in (True, False):
        findings = judge(replace(GOOD, telemetry_off=off), here)
        assert not any("telemetry" in finding.what for finding in findings)


@pytest.mark.parametrize(
    ("python", "fix"),
    [
        ("python3", "python3 -m venv ~/hwnas-venv"),
        ("~/mine/bin/python", "~/mine/bin/python -m pip install numpy"),
    ],
)
def test_a_missing_package_goes_into_a_venv(python: str, fix: str) -> None:
    facts = replace(GOOD, python={"sys": "3.11.2", "onnxruntime": "1.32.0"})
    found = of(judged(facts, f'[runtime]\npython = "{python}"'), "numpy: no answer")
    assert fix in found.fix

from __future__ import annotations

import os
from pathlib import Path

import pytest

from hwnas.agent.fingerprint import collect, pin, read_cpuinfo, read_governor
from hwnas.agent.protocol import RuntimeInfo
from hwnas.agent.readings import pss_bytes, throttled
from hwnas.agent.settings import Settings
from hwnas.errors import ProfileError
from hwnas.profile.fingerprint import Fingerprint, read_fingerprint

X86 = """processor\t: 0
vendor_id\t: GenuineIntel
cpu family\t: 6
model\t\t: 106
model name\t: Intel(R) Xeon(R) Platinum 8375C CPU @ 2.90GHz
stepping\t: 6
flags\t\t: fpu sse2 avx2 avx512f hypervisor
processor\t: 1
model name\t: something else
"""
ARM = """processor\t: 0
Features\t: fp asimd aes
CPU implementer\t: 0x41
CPU part\t: 0xd05

processor\t: 1
Features\t: fp asimd aes
CPU implementer\t: 0x41
CPU part\t: 0xd0a

Model\t\t: Raspberry Pi 4 Model B Rev 1.4
"""


@pytest.fixture
def device() -> Fingerprint:
    return Fingerprint(
        machine="x86_64",
        cpu="Xeon 6/106/6",
        flags=("avx2", "fpu", "hypervisor", "sse2"),
        threads=1,
        runtime="onnxruntime",
        runtime_version="1.32.0",
        provider="CPUExecutionProvider",
        cores=8,
        affinity=(0, 1, 2, 5),
        governor="performance",
        system="Linux",
        kernel="6.1",
        hwnas="0.1.0",
    )


def test_this_machine() -> None:
    found = read_fingerprint(collect(RuntimeInfo("null", "1", "none"), Settings(threads=2)))
    assert found.cores == os.cpu_count()
    assert found.affinity == tuple(sorted(os.sched_getaffinity(0)))
    assert found.machine == os.uname().machine and found.kernel == os.uname().release
    assert (found.runtime, found.threads) == ("null", 2)
    assert found.cpu != "unknown" and found.flags


@pytest.mark.parametrize(
    "change", [{"cores": 0}, {"flags": "avx2"}, {"threads": "x"}, {"more": 1}, {"cpu": None}]
)
def test_what_is_no_fingerprint_is_refused(device: Fingerprint, change: dict[str, object]) -> None:
    with pytest.raises(ProfileError, match=next(iter(change))):
        read_fingerprint({**device.model_dump(), **change})


def test_pinning_ends_with_the_block() -> None:
    before = os.sched_getaffinity(0)
    core = max(before)
    with pin(Settings(affinity=(core,))):
        assert os.sched_getaffinity(0) == {core}
    assert os.sched_getaffinity(0) == before
    with (
        pytest.raises(ProfileError, match="core 999 is not available"),
        pin(Settings(affinity=(999,))),
    ):
        pass
    with (
        pytest.raises(ProfileError, match="cannot run at once"),
        pin(Settings(affinity=(core,), threads=2)),
    ):
        pass
    assert os.sched_getaffinity(0) == before


def test_x86() -> None:
    assert read_cpuinfo(X86) == (
        "Intel(R) Xeon(R) Platinum 8375C CPU @ 2.90GHz 6/106/6",
        ("avx2", "avx512f", "fpu", "hypervisor", "sse2"),
    )


def test_arm_names_each_kind_of_core() -> None:
    cpu, flags = read_cpuinfo(ARM)
    assert cpu == "Arm 0x41/0xd05 0x41/0xd0a (Raspberry Pi 4 Model B Rev 1.4)"
    assert flags == ("aes", "asimd", "fp")


def test_nothing_to_read_is_unknown() -> None:
    assert read_cpuinfo("") == ("unknown", ())
    assert read_cpuinfo("garbage\n: :\n") == ("unknown", ())


def test_governor(tmp_path: Path) -> None:
    for core, governor in enumerate(["powersave\n", "performance\n", "performance\n"]):
        folder = tmp_path / f"cpu{core}" / "cpufreq"
        folder.mkdir(parents=True)
        (folder / "scaling_governor").write_text(governor)
    assert read_governor([1, 2], tmp_path) == "performance"
    assert read_governor([0, 1], tmp_path) == "performance,powersave"
    assert read_governor([2, 3], tmp_path) == "unknown", "never guessed from the others"
    assert read_governor([], tmp_path) == "unknown"


def test_json_round_trip(device: Fingerprint) -> None:
    assert Fingerprint.model_validate_json(device.model_dump_json()) == device


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"machine": "aarch64"}, "architecture: x86_64 here, aarch64 there"),
        ({"cpu": "Xeon 6/85/7"}, "CPU: Xeon 6/106/6 here, Xeon 6/85/7 there"),
        ({"threads": 4}, "threads: 1 here, 4 there"),
        ({"runtime": "tvm"}, "runtime: onnxruntime here, tvm there"),
        ({"runtime_version": "1.30.0"}, "runtime version: 1.32.0 here, 1.30.0 there"),
        ({"provider": "CUDA"}, "provider: CPUExecutionProvider here, CUDA there"),
        (
            {"flags": ("avx512f", "fpu", "sse2")},
            "CPU flags: only here: avx2; only there: avx512f",
        ),
    ],
)
def test_what_makes_incomparable(device: Fingerprint, change: dict[str, object], text: str) -> None:
    assert device.differences(device.model_copy(update=change)) == [text]


@pytest.mark.parametrize(
    "change",
    [
        {"affinity": (7,)},
        {"governor": "unknown"},
        {"kernel": "6.2"},
        {"hwnas": "9"},
        {"cores": 4},
        {"system": "other"},
    ],
)
def test_what_is_only_recorded(device: Fingerprint, change: dict[str, object]) -> None:
    other = device.model_copy(update=change)
    assert device.differences(other) == []
    [line] = device.changes(other)
    assert line.startswith(next(iter(change)))


def test_flags_of_kernel_and_hypervisor_do_not_count(device: Fingerprint) -> None:
    other = device.model_copy(update={"flags": ("avx2", "ibrs", "sse2")})
    assert device.differences(other) == []
    assert device.flags_hash == other.flags_hash


def test_summary(device: Fingerprint) -> None:
    text = device.summary()
    for part in ("Xeon 6/106/6", "1.32.0", "1 thread on cores 0-2,5", "governor performance"):
        assert part in text


def test_memory_is_known_or_none(tmp_path: Path) -> None:
    before = pss_bytes()
    assert before is not None and before > 1_000_000
    block = bytearray(os.urandom(1)) * 50_000_000
    after = pss_bytes()
    assert after is not None and 40_000_000 < after - before < 70_000_000
    del block
    assert pss_bytes(tmp_path / "absent") is None
    (tmp_path / "rollup").write_text("Rss: 12 kB\n")
    assert pss_bytes(tmp_path / "rollup") is None


def cpu_stat(folder: Path, count: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "cpu.stat").write_text(f"nr_periods 9\nnr_throttled {count}\nthrottled_time 1\n")


class TestThrottled:
    def test_version_2_sums_over_the_groups_above(self, tmp_path: Path) -> None:
        cpu_stat(tmp_path / "a", 2)
        cpu_stat(tmp_path / "a" / "b", 3)
        (tmp_path / "cpu.stat").write_text("usage_usec 5\n")
        (tmp_path / "cgroup").write_text("0::/a/b\n")
        assert throttled(tmp_path / "cgroup", tmp_path) == 5

    def test_version_1(self, tmp_path: Path) -> None:
        cpu_stat(tmp_path / "cpu,cpuacct" / "a", 4)
        cpu_stat(tmp_path / "memory" / "a", 100)
        groups = "4:memory:/a\n3:cpuset:/a\n2:cpu,cpuacct:/a\n0::/a\n"
        (tmp_path / "cgroup").write_text(groups)
        assert throttled(tmp_path / "cgroup", tmp_path) == 4

    def test_a_path_of_the_host_within_a_container(self, tmp_path: Path) -> None:
        cpu_stat(tmp_path / "cpu", 7)
        (tmp_path / "cgroup").write_text("2:cpu:/docker/0123\n")
        assert throttled(tmp_path / "cgroup", tmp_path) == 7

    def test_unknown_is_none(self, tmp_path: Path) -> None:
        assert throttled(tmp_path / "absent", tmp_path) is None
        (tmp_path / "cgroup").write_text("0::/a\n2:cpu:/a\nnonsense\n")
        assert throttled(tmp_path / "cgroup", tmp_path) is None


@pytest.mark.parametrize(
    "given",
    [
        {"cpu": "A\x1b]0;owned\x07\x1b[2J"},
        {"kernel": "6.1\nerror: none"},
        {"cpu": "x" * 257},
        {"flags": ["fine", "\x1b[2J"]},
        {"flags": ["f"] * 4097},
        {"cores": 10**30},
        {"affinity": [10**40]},
        {"affinity": [-1]},
    ],
)
def test_what_cannot_be_shown_or_kept_is_refused(
    device: Fingerprint, given: dict[str, object]
) -> None:
    with pytest.raises(ProfileError, match="fingerprint that is none") as caught:
        read_fingerprint(device.model_dump() | given)
    assert caught.value.cause.isprintable()
    assert len(caught.value.cause) < 500

"""The probe, in real shells on a copied board and on this machine; and the commands."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from hwnas.cli import devices, doctor
from hwnas.doctor import Finding, examine
from hwnas.doctor.examine import judge, probe
from hwnas.doctor.facts import Clock, parse_facts, split_sections
from hwnas.errors import RemoteError, UnknownName
from hwnas.profile.descriptor import Descriptor, parse_descriptor
from hwnas.profile.transport import Result
from tests.support.shells import Here

HEAD = 'schema_version = 1\nname = "board"\nkind = "ssh"\n[transport]\nhost = "board"\n'
SHELLS = [["sh"], ["busybox", "sh"], ["mksh"], ["bash", "--posix"]]


def descriptor(text: str = "") -> Descriptor:
    return parse_descriptor(HEAD + text, "board.toml")


def board(root: Path) -> Path:
    """The files of a throttled board with two kinds of cores in a container with a quota."""
    cpu = "sys/devices/system/cpu"
    files: dict[str, object] = {
        "proc/cpuinfo": "CPU implementer\t: 0x41\nCPU part\t: 0xd08\nModel\t\t: Pi 4",
        "proc/meminfo": "MemTotal:  3884364 kB\nMemAvailable:  81920 kB\n"
        "SwapTotal:  102396 kB\nSwapFree:  2396 kB",
        "proc/uptime": "50.25 100.00",
        "proc/self/status": "Name:\tsh\nCpus_allowed_list:\t0-2",
        "proc/self/cgroup": "2:cpu,cpuacct:/box\n0::/box",
        "proc/mounts": "/dev/root / rw,relatime 0 0",
        f"{cpu}/online": "0-3",
        f"{cpu}/isolated": "3",
        "sys/class/thermal/thermal_zone0/type": "cpu-thermal",
        "sys/class/thermal/thermal_zone0/temp": 82300,
        "sys/devices/platform/soc/soc:firmware/get_throttled": "50004",
        "sys/fs/cgroup/cpu/box/cpu.cfs_quota_us": 50000,
        "sys/fs/cgroup/cpu/box/cpu.cfs_period_us": 100000,
        "sys/fs/cgroup/cpu/box/cpu.stat": "nr_periods 10\nnr_throttled 7\nthrottled_time 5",
        "sys/fs/cgroup/cpu.max": "max 100000",
        "sys/class/powercap/intel-rapl:0/energy_uj": 5,
        "sys/class/hwmon/hwmon1/name": "ina3221",
        "sys/class/hwmon/hwmon1/in1_label": "VDD_IN",
        "sys/class/hwmon/hwmon1/in2_label": "VDD_CPU_GPU_CV",
        "sys/class/hwmon/hwmon2/name": "nvme",
    }
    for core in range(4):
        folder = f"{cpu}/cpu{core}/cpufreq"
        files |= {
            f"{folder}/scaling_governor": "powersave" if core else "performance",
            f"{folder}/scaling_cur_freq": 600000,
            f"{folder}/scaling_max_freq": 1200000,
            f"{folder}/cpuinfo_max_freq": 1500000 if core < 2 else 1800000,
        }
    for name, value in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{value}\n")
    return root


def of(findings: list[Finding] | tuple[Finding, ...], what: str) -> Finding:
    found = [finding for finding in findings if what in finding.what]
    assert len(found) == 1, [finding.what for finding in findings]
    return found[0]


@pytest.mark.parametrize("shell", SHELLS, ids=lambda shell: shell[0])
def test_each_shell_tells_the_same_of_a_copied_board(shell: list[str], tmp_path: Path) -> None:
    if shutil.which(shell[0]) is None:
        pytest.skip(f"this machine has no {shell[0]}")
    root = board(tmp_path / "root")
    facts = probe(Here(*shell), descriptor(f'work = "{tmp_path}/not/there"\n'), str(root))
    assert facts.cpu == ("0x41", "0xd08", "Pi 4")
    assert (facts.online, facts.isolated, facts.allowed) == ((0, 1, 2, 3), (3,), (0, 1, 2))
    assert facts.memory["MemAvailable"] == 81920 * 1024
    assert facts.uptime_s == 50.25
    assert [clock.governor for clock in facts.clocks] == ["performance"] + ["powersave"] * 3
    assert facts.clocks[3] == Clock(3, "powersave", 600000, 1200000, 1800000, True)
    assert facts.zones == {"cpu-thermal": 82.3}
    assert facts.throttled == 0x50004
    assert (facts.quota_cores, facts.quota_stops) == (0.5, 7)
    assert facts.energy == {"rapl": True, "ina3221": True}
    assert (facts.work, facts.work_writable) == (str(tmp_path), True)
    assert facts.work_free
    assert facts.busy_cores is None


@pytest.mark.parametrize("shell", SHELLS, ids=lambda shell: shell[0])
def test_rails_without_that_of_the_whole_module_are_no_energy(
    shell: list[str], tmp_path: Path
) -> None:
    if shutil.which(shell[0]) is None:
        pytest.skip(f"this machine has no {shell[0]}")
    root = board(tmp_path)
    shutil.rmtree(root / "sys/class/powercap")
    for number, rail in ((1, "VDD_GPU_SOC"), (2, "VDD_CPU_CV"), (3, "NOT_VDD_IN")):
        (root / f"sys/class/hwmon/hwmon1/in{number}_label").write_text(f"{rail}\n")
    wanted = descriptor("[measure]\nenergy = true\n")
    facts = probe(Here(*shell), wanted, str(root))
    assert facts.energy == {"ina3221": False}
    assert of(list(judge(facts, wanted)), "no rail of the whole module").level == "warn"


@pytest.mark.parametrize("shell", SHELLS, ids=lambda shell: shell[0])
def test_each_shell_tells_of_this_machine(shell: list[str]) -> None:
    if shutil.which(shell[0]) is None:
        pytest.skip(f"this machine has no {shell[0]}")
    local = parse_descriptor('schema_version = 1\nname = "cpu"\nkind = "local"\n', "cpu.toml")
    before = time.time()
    facts = probe(Here(*shell), local)
    assert facts.system == "Linux"
    assert facts.allowed
    assert facts.memory["MemTotal"] > 0
    assert set(facts.python) == {"sys", "numpy", "onnxruntime"}
    assert facts.python_errors == {}
    assert facts.busy_cores is not None
    assert facts.clock_s is not None
    assert before - 2 <= facts.clock_s <= time.time() + 2
    assert {"sha256sum", "setsid"} <= facts.tools


def test_the_probe_changes_nothing(tmp_path: Path) -> None:
    root = board(tmp_path / "root")
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    probe(Here(), descriptor(f'work = "{tmp_path}/work"\n'), str(root))
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_a_copied_board_is_called_bad_with_reasons(tmp_path: Path) -> None:
    root = board(tmp_path)
    text = f'work = "{tmp_path}"\n[measure]\nthreads = 3\nenergy = true\n'
    found = list(judge(probe(Here(), descriptor(text), str(root)), descriptor(text)))
    assert of(found, "throttled now: throttled").level == "bad"
    assert of(found, "82 C at cpu-thermal").level == "warn"
    assert of(found, "governor is powersave").level == "warn"
    assert "core 0: 1200 MHz of 1500 MHz" in of(found, "capped").what
    assert (
        "affinity = [2, 3]" in of(found, "cores differ").fix
        or "affinity" in of(found, "cores differ").fix
    )
    assert of(found, "a CPU quota of 0.5 cores").level == "bad"
    assert of(found, "stopped by a CPU quota 7 times").level == "warn"
    assert of(found, "3 threads on all 3 cores").level == "warn"
    assert of(found, "83 MB of memory").level == "bad"
    assert of(found, "MB are swapped out").level == "warn"
    assert of(found, "started 50 s ago").level == "warn"
    assert of(found, "energy can be read: rapl, ina3221").level == "ok"


def busy_output(ticks: list[int], processes: list[str]) -> bytes:
    samples = [
        f"M busy{i + 1}\n{100 + i}.00 5.0\ncpu  {t} 0 0 900 0 0 0 {t // 10} 0 0\n{p}\n"
        for i, (t, p) in enumerate(zip(ticks, processes, strict=True))
    ]
    return "".join([*samples, "M end\n"]).encode()


def test_other_programs_are_seen_between_two_samples() -> None:
    stat = "{} ({}) R 1 7 7 0 -1 4194560 1 2 3 4 {} {} 0 0 20 0 1 0 5"
    before = [stat.format(7, "cc1plus", 100, 0), stat.format(8, "odd) R (x", 0, 5)]
    after = [stat.format(7, "cc1plus", 150, 10), stat.format(8, "odd) R (x", 0, 45)]
    facts = parse_facts(busy_output([1000, 1110], ["\n".join(before), "\n".join(after)]), "M")
    assert facts.busy_cores == pytest.approx(1.1)
    assert facts.stolen_cores == pytest.approx(0.11)
    assert facts.busiest == (("cc1plus", pytest.approx(0.6)), ("odd) R (x", pytest.approx(0.4)))


def test_output_without_its_end_is_an_error() -> None:
    with pytest.raises(ValueError, match="no end"):
        parse_facts(b"M system\nLinux\n", "M")
    with pytest.raises(ValueError, match="more than"):
        parse_facts(b"x" * (5 << 20), "M")

    class Broken(Here):
        def run(self, script: str, *args: str, **rest: object) -> Result:  # type: ignore[override]
            return Result(127, b"", b"sh: not found")

    with pytest.raises(RemoteError, match="exit code 127") as caught:
        examine(Broken(), descriptor())
    assert "sh: not found" in caught.value.fix


def test_what_a_file_holds_is_no_section() -> None:
    output = b"other end\nM cpu\nmodel name : x\nother system\nM end\n"
    assert split_sections(output, "M")["cpu"] == ["model name : x", "other system"]


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_whatever_a_device_prints_is_read_or_left(data: st.DataObject) -> None:
    names = st.sampled_from(
        [
            "clock",
            "system",
            "cpu",
            "cores",
            "memory",
            "uptime",
            "clocks",
            "thermal",
            "energy",
            "rpi",
            "quota",
            "libc",
            "work",
            "mounts",
            "tools",
            "environment",
            "android",
            "python",
            "busy1",
            "busy2",
        ]
    )
    line = st.text(max_size=60) | st.text("0123456789|. -max()cpu:kB%/,", max_size=40)
    sections = data.draw(st.lists(st.tuples(names, st.lists(line, max_size=4)), max_size=12))
    text = "".join(f"\nM {name}\n" + "\n".join(lines) + "\n" for name, lines in sections)
    facts = parse_facts(text.encode("utf-8", "surrogatepass") + b"\nM end\n", "M")
    for finding in judge(facts, descriptor()):
        assert finding.what.isprintable()
        assert len(finding.what) < 1000


def test_a_wrong_clock_is_seen() -> None:
    class Late(Here):
        def run(self, script: str, *args: str, **rest: object) -> Result:  # type: ignore[override]
            return Result(0, f"{args[0]} clock\n1000000\n{args[0]} end\n".encode(), b"")

    assert "behind" in of(examine(Late(), descriptor()).findings, "its clock is").what


def test_the_worst_comes_first() -> None:
    found = examine(Here(), descriptor('[runtime]\npython = "no-such-python"\n'))
    levels = [finding.level for finding in found.findings]
    assert levels == sorted(levels, key=["bad", "warn", "unknown", "ok"].index)
    assert found.worst == "bad"
    assert "not found" in of(found.findings, "no-such-python does not start").what


class TestCommands:
    def test_doctor_of_this_machine_prints_findings_and_a_verdict(self) -> None:
        done = CliRunner().invoke(doctor.command, [])
        lines = done.output.splitlines()
        assert {line.split()[0] for line in lines[:-1]} <= {
            "bad", "warn", "unknown", "ok", "why:", "do:",
        }  # fmt: skip
        assert lines[-1].startswith("cpu ")
        assert "next: hwnas " in lines[-1]
        assert done.exit_code == (1 if lines[0].startswith("bad") else 0)

    def test_doctor_as_json(self) -> None:
        found = json.loads(CliRunner().invoke(doctor.command, ["--format", "json"]).output)
        assert found["target"] == "cpu"
        assert {"level", "what", "why", "fix"} == set(found["findings"][0])

    def test_what_is_bad_is_exit_code_1(self, tmp_path: Path) -> None:
        path = tmp_path / "x.toml"
        path.write_text(
            'schema_version = 1\nname = "x"\nkind = "local"\n[measure]\naffinity = [4000]\n'
        )
        done = CliRunner().invoke(doctor.command, [str(path)])
        assert done.exit_code == 1
        assert "x is not fit to be measured on" in done.output

    def test_an_unknown_target_is_a_usage_error(self) -> None:
        done = CliRunner().invoke(doctor.command, ["no-such-target"])
        assert isinstance(done.exception, UnknownName)

    def test_devices_lists_where_each_is_from(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("HWNAS_TARGETS", str(tmp_path))
        (tmp_path / "cpu.toml").write_text(
            'schema_version = 1\nname = "cpu"\nkind = "local"\nemulated = true\n'
        )
        (tmp_path / "broken.toml").write_text("x = 1\n")
        done = CliRunner().invoke(devices.command, ["--format", "json"])
        found = {entry["name"]: entry for entry in json.loads(done.output)}
        assert found["cpu"]["from"] == str(tmp_path / "cpu.toml")
        assert found["cpu"]["instead_of"] == ["built-in (hwnas)"]
        assert found["raspberry-pi-4"]["descriptor"]["transport"]["user"] == "pi"
        assert "unknown key" in found["broken"]["error"]
        lines = CliRunner().invoke(devices.command, []).output.splitlines()
        assert "cpu: instead of the built-in (hwnas)" in lines
        assert any(line.startswith("cpu: emulated") for line in lines)
        assert any(line.startswith("broken: not usable: ") for line in lines)
        rows = lines[: next(i for i, line in enumerate(lines) if ": " in line)]
        assert len(rows) == 1 + len(found)
        assert max(map(len, rows)) <= 80, "paths and errors are on lines of their own"
        assert str(tmp_path) in lines[-1]

    def test_devices_asks_each_whether_it_answers(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("HWNAS_TARGETS", str(tmp_path))
        (tmp_path / "x.toml").write_text('schema_version = 1\nname = "x"\nkind = "no-such-kind"\n')
        for name in ("raspberry-pi-4", "raspberry-pi-5", "jetson-orin", "android-arm64"):
            # The built-in ones are hidden, so that no test looks for boards on the network.
            (tmp_path / f"{name}.toml").write_text(
                f'schema_version = 1\nname = "{name}"\nkind = "local"\n'
            )
        done = CliRunner().invoke(devices.command, ["--probe", "--format", "json"])
        found = {entry["name"]: entry["answer"] for entry in json.loads(done.output)}
        assert found["cpu"] == "yes"
        assert found["x"].startswith("no: unknown target 'no-such-kind'")

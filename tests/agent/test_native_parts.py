"""The native agent's parts: held against Python's, fed with nonsense, built for other machines."""

from __future__ import annotations

import json
import os
import platform
import random
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from hwnas.agent.events import AgentError, Round, Sit, Stopped
from hwnas.agent.inputs import make_input
from hwnas.agent.protocol import Tensor
from hwnas.agent.rounds import Pace, round_factors
from hwnas.agent.samples import interval_ranks, waited
from hwnas.agent.settings import Settings
from hwnas.agent.stopping import MedianConverged, WarmUp
from hwnas.errors import HwnasError, MissingExtra, UnknownName, UsageError
from hwnas.remote import native_agent
from tests.agent.native_support import ROOT, WEIGHTS, Made, build, make, missing, parse, quick

SANITIZERS = "-fsanitize=address,undefined -fno-sanitize-recover=all -g1"
ROUNDS = 400
OLDEST_GLIBC = (2, 28)


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("agent"))


@pytest.fixture(scope="module")
def checked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With address and undefined-behaviour sanitizers."""
    program = tmp_path_factory.mktemp("sanitizers") / "program"
    test = ["cc", "-fsanitize=address,undefined", "-x", "c", "-", "-o", str(program)]
    done = subprocess.run(test, input=b"int main(void) { return 0; }", check=False)
    if done.returncode:
        missing("the C compiler has no sanitizers")
    return build(tmp_path_factory.mktemp("checked"), SANITIZERS)


def selftest(agent: Path, *words: object, stdin: str = "") -> bytes:
    command = [str(agent), "selftest", *map(str, words)]
    return subprocess.run(command, input=stdin.encode(), capture_output=True, check=True).stdout


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "int64", "uint8", "bool"])
def test_inputs_are_the_same_bits(agent: Path, dtype: str) -> None:
    for index, seed, count in ((0, 0, 5000), (3, 12345, 257), (1, 2**63 - 1, 64), (0, 7, 0)):
        wanted = make_input(Tensor("x", dtype, (count,)), index, seed)
        assert selftest(agent, "inputs", dtype, count, index, seed) == wanted.tobytes()


@pytest.mark.parametrize("confidence", [0.5, 0.9, 0.95, 0.99])
def test_interval_ranks_are_the_same(agent: Path, confidence: float) -> None:
    lines = selftest(agent, "ranks", 2000, confidence).splitlines()
    for n, line in enumerate(lines):
        low, high = map(int, line.split())
        assert interval_ranks(n, 0.5, confidence) == (None if low < 0 else (low, high)), n


@pytest.mark.parametrize("seed", range(12))
def test_warm_up_ends_alike(agent: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    fall = rng.choice([0.0, 0.3, 3.0])
    runs = np.arange(3000)
    ns = 1e5 * (1 + fall * np.exp(-runs / rng.integers(20, 2000))) * rng.normal(1, 0.02, 3000)
    settings = Settings(warmup_time_s=0.2, warmup_max_runs=int(rng.integers(100, 4000)))
    rule = WarmUp(settings)
    for value in ns.astype(int):
        if rule.add(int(value)) is not None:
            break
    series = "\n".join(map(str, ns.astype(int)))
    said = selftest(agent, "warmup", settings.to_json(), stdin=series).split()
    assert said == [str(rule.stopped_by).encode(), b"%d" % rule.runs, b"%.17g" % rule.median_ns]


@pytest.mark.parametrize("count", [1, 4, 5, 6, 30])
@pytest.mark.parametrize("seed", range(6))
def test_sampling_ends_alike(agent: Path, seed: int, count: int) -> None:
    """Of items with their own spreads; with 5 or more the machine gets slower and faster too."""
    rng = np.random.default_rng(seed)
    shape = (120, count)
    spread = rng.choice([0.001, 0.01, 0.05, 0.2], count)
    drift = rng.choice([0.0, 0.001], count)
    pace = rng.choice([1.0, 1.15, 1.3], (120, 1)) if count >= 5 else 1.0
    cost = rng.uniform(1e4, 1e6, count) * (1 + drift * np.arange(120)[:, None])
    table = (cost * pace * np.abs(rng.normal(1, spread, shape))).astype(int) + 1
    calm = rng.random(shape) < 0.8
    settings = Settings(max_rounds=int(rng.integers(20, 100)), sample_time_s=0.05)
    rules = [MedianConverged(settings) for _ in range(count)]
    told: list[tuple[int, int, int]] = []
    while any(rule.stopped_by is None for rule in rules):
        number = max(rule.turns for rule in rules)
        left = [item for item, rule in enumerate(rules) if rule.stopped_by is None]
        for item in left:
            rules[item].tell([table[number, item]], calm[number, item])
            told.append((item, number, table[number, item]))
        items, rounds, medians = (np.array(column) for column in zip(*told, strict=True))
        factors = round_factors(items, rounds, medians.astype(float))
        for item in left:
            rules[item].judge(factors)
    lines = (f"{flag:d} {ns}" for flag, ns in zip(calm.flat, table.flat, strict=True))
    said = selftest(agent, "sampling", settings.to_json(), count, stdin="\n".join(lines)).split()
    ends = [str(word) for rule in rules for word in (rule.stopped_by, rule.turns)]
    assert [word.decode() for word in said[: 2 * count]] == ends
    np.testing.assert_allclose([float(word) for word in said[2 * count :]], factors, rtol=1e-12)
    held = np.bincount(rounds)
    assert (factors[held < 5] == 1).all() and (count < 5 or np.ptp(factors[held >= 5]) > 0.1)


def test_sittings_end_where_the_rules_in_python_say(agent: Path, tmp_path: Path) -> None:
    settings = quick(relative_ci=0.05, max_rounds=30)
    made = make(agent, tmp_path, [4, 8, 16, 32, 64, 128, 256], settings)
    made.run()
    rules: dict[int, MedianConverged] = {}
    pace = Pace()
    wanted = []
    for event in made.events():
        if isinstance(event, Sit):
            pace, rules = Pace(), {item: MedianConverged(settings) for item in event.items}
        if not isinstance(event, Round):
            continue
        for turn in event.turns:
            rules[turn.item].tell(turn.ns, not waited(turn.wall, turn.cpu, 1))
            pace.tell(turn.item, event.round, turn.ns)
        factors = np.array(list(pace.factors().values()))
        for turn in event.turns:
            why = rules[turn.item].judge(factors)
            wanted += [Stopped(event.sitting, turn.item, why)] if why else []
    assert [event for event in made.events() if isinstance(event, Stopped)] == wanted
    assert len(wanted) == 14


def test_the_canary_takes_time(agent: Path) -> None:
    assert float(selftest(agent, "canary")) > 0


def refused(made: Made) -> AgentError:
    """What the agent says, which must have been one error, without a word of the sanitizers."""
    done = made.run("--stdout")
    said = parse(done.stdout)[-1]
    assert done.returncode == 1, done.stderr
    assert b"Sanitizer" not in done.stderr and b"runtime error" not in done.stderr, done.stderr
    assert isinstance(said, AgentError)
    return said


def without_runtime(agent: Path, folder: Path) -> Made:
    """A valid job that ends where the runtime is loaded: with an error, whatever it says."""
    made = make(agent, folder, [4, 600])
    made.runtime = folder / "none.so"
    assert "none.so" in refused(made).error
    return made


BROKEN = {
    "": "JSON",
    "nonsense": "JSON",
    "[]": "not an object",
    "[" * 100_000: "too many levels",
    '{"a":' * 1000: "too many levels",
    '{"schema_version": 1, "schema_version": 1}': "there before",
    '{"schema_version": 2}': "schema_version is 2",
    '{"schema_version": 1e0}': "whole number",
    '{"schema_version": 01}': "JSON",
    '{"schema_version": NaN}': "JSON",
    '{"schema_version": "\\ud800"}': "surrogate",
    '{"schema_version": "\\u0000"}': "\\u",
    '{"schema_version": "a\nb"}': "string",
    '{"schema_version": 1} x': "behind the end",
    '{"schema_version": 1': "comma",
    '"': "without end",
    '"\\': "escape",
}


@pytest.mark.parametrize("text", BROKEN, ids=lambda text: text[:24])
def test_json_that_is_none_is_refused(checked: Path, tmp_path: Path, text: str) -> None:
    made = make(checked, tmp_path, [4])
    (made.folder / "job.json").write_text(text)
    assert BROKEN[text] in refused(made).error


WRONG: dict[str, tuple[list[object], object]] = {
    "an unknown key": (["more"], 1),
    "two keys in one": (["items", 0, "key scope"], "x"),
    "an unknown setting": (["settings", "min_runs"], 50),
    "a setting of another type": (["settings", "seed"], 1.5),
    "too few rounds": (["settings", "min_rounds"], 5),
    "no threads": (["settings", "threads"], 0),
    "no core": (["settings", "affinity"], []),
    "another profiler": (["profiler"], "tvm"),
    "a name with a slash": (["data", "a/b"], {"sha256": "0" * 64, "bytes": 1}),
    "a hidden name": (["data", ".."], {"sha256": "0" * 64, "bytes": 1}),
    "an odd name": (["data", "a+b"], {"sha256": "0" * 64, "bytes": 1}),
    "a short hash": (["items", 0, "model", "sha256"], "0" * 63),
    "a hash in capitals": (["items", 0, "model", "sha256"], "A" * 64),
    "a path as a hash": (["items", 0, "model", "sha256"], "../" + "0" * 61),
    "negative bytes": (["items", 0, "model", "bytes"], -1),
    "another scope": (["items", 0, "scope"], "net"),
    "a label that cannot be printed": (["items", 0, "label"], "a\u007fb"),
    "a long label": (["items", 0, "label"], "a" * 65_537),
    "a long key": (["items", 0, "key"], "a" * 513),
    "more than a day": (["settings", "time_limit_s"], 86_401),
    "energy, which it cannot measure": (["settings", "energy"], True),
    "an unknown dtype": (["items", 0, "inputs", 0, "dtype"], "bfloat16"),
    "a negative size": (["items", 0, "inputs", 0, "shape"], [-1]),
    "too large a shape": (["items", 0, "inputs", 0, "shape"], [1 << 30, 1 << 30, 0]),
    "an overflowing shape": (["items", 0, "inputs", 0, "shape"], [1 << 62, 4]),
    "too few samples": (["items", 0, "expected", 0, "values"], "AAAA"),
    "no base64": (["items", 0, "expected", 0, "values"], "!" * 344),
    "a step of 0": (["items", 0, "expected", 0, "step"], 0),
    "a tolerance below 0": (["items", 0, "expected", 0, "tolerance"], -0.1),
    "no mean": (["items", 0, "expected", 0, "mean"], None),
    "too many items": (["items"], [0] * 65_537),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_job_that_is_not_as_it_should_be_is_refused(
    checked: Path, tmp_path: Path, what: str
) -> None:
    made = make(checked, tmp_path, [4])
    made.runtime = tmp_path / "none.so"
    place, value = WRONG[what]
    found = made.document
    for key in place[:-1]:
        found = found[key]  # type: ignore[index]
    found[place[-1]] = value  # type: ignore[index]
    made.write()
    said = refused(made)
    assert "none.so" not in said.error and said.fix


def test_a_label_may_be_all_choices_of_a_large_subnet(checked: Path, tmp_path: Path) -> None:
    made = without_runtime(checked, tmp_path)
    made.document["items"][0]["label"] = "a" * 65_536
    made.write()
    assert "none.so" in refused(made).error


def test_a_setting_that_is_missing_is_refused(checked: Path, tmp_path: Path) -> None:
    """The agent has no defaults of its own that could differ from those of hwnas."""
    made = without_runtime(checked, tmp_path)
    for name, value in list(made.document["settings"].items()):
        del made.document["settings"][name]
        made.write()
        assert name in refused(made).error
        made.document["settings"][name] = value


def test_mutated_jobs_and_journals_are_survived(checked: Path, tmp_path: Path) -> None:
    """Bytes changed, lost, doubled and moved; tokens that stress numbers, strings and depth."""
    made = without_runtime(checked, tmp_path)
    good = (made.folder / "job.json").read_bytes()
    tokens = [b"1e999", b"-0", b"9" * 30, b'"', b"\\u", b"\\ud800\\udc00", b"[[[[", b"}", b"null"]
    tokens += [b"\xff\xfe", b"\xed\xa0\x80", b"true", b"{}", b"[]", b"\x00", b",", b'{"":0}']
    rng = random.Random(0)
    for _ in range(ROUNDS):
        data = bytearray(good)
        for _ in range(rng.choice([1, 1, 2, 5])):
            at = rng.randrange(len(data))
            end = min(len(data), at + rng.choice([0, 1, 1, 4, 40]))
            new = rng.choice([b"", rng.randbytes(1), rng.choice(tokens), data[at:end] * 2])
            data[at:end] = new
        (made.folder / "job.json").write_bytes(data)
        refused(made)
    (made.folder / "job.json").write_bytes(good)
    lines = [b'{"event":"done","item":0}', b'{"event":"sit","sitting":4,"items":[0]}']
    lines += [b'{"event":"failed","item":1,"error":"x","fix":"","type":""}', b'{"event":"probe"}']
    for _ in range(ROUNDS // 8):
        data = bytearray(b"\n".join(rng.choices(lines, k=6)) + b"\n")
        for _ in range(rng.choice([1, 3])):
            at = rng.randrange(len(data))
            data[at : at + 1] = rng.choice([b"", rng.randbytes(1), rng.choice(tokens)])
        made.journal.write_bytes(data)
        done = made.run()
        assert done.returncode in (0, 1), done.stderr
        assert b"Sanitizer" not in done.stderr and b"runtime error" not in done.stderr


def test_a_whole_job_runs_under_the_sanitizers(checked: Path, tmp_path: Path) -> None:
    made = make(checked, tmp_path, [4, 600], quick(sittings=1))
    done = made.run()
    assert done.returncode == 0, done.stderr
    assert b'"event":"failed"' not in made.journal.read_bytes()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of agents; the compiler keeps its own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for kind in ("GLOBAL", "LOCAL"):
        monkeypatch.setenv(f"ZIG_{kind}_CACHE_DIR", str(ROOT / "build" / "zig-cache"))
    return tmp_path / "cache" / "hwnas" / "agents"


def needs_zig() -> None:
    if shutil.which("readelf") is None:
        missing("readelf is not on the PATH")
    command = [sys.executable, "-P", "-m", "ziglang", "version"]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        missing("ziglang, which builds for other architectures, is not installed")


@pytest.mark.parametrize("architecture", native_agent.ARCHITECTURES)
def test_builds_for_old_boards_of_other_architectures(cache: Path, architecture: str) -> None:
    needs_zig()
    path = native_agent.binary(architecture)
    assert path.parent == cache and os.access(path, os.X_OK)
    assert path.stat().st_size < 150_000
    machine = {"aarch64": "AArch64", "x86_64": "X86-64"}[architecture]
    told = subprocess.run(["readelf", "-hdV", path], capture_output=True, text=True, check=True)
    assert machine in told.stdout
    versions = {tuple(map(int, v.split("."))) for v in re.findall(r"GLIBC_([0-9.]+)", told.stdout)}
    assert versions and max(versions) <= OLDEST_GLIBC
    needed = set(re.findall(r"NEEDED.*\[(lib[a-z]+|ld-[a-z0-9-]+)\.so", told.stdout))
    assert needed <= {"libc", "libm", "libdl", "libpthread", "ld-linux-aarch64", "ld-linux-x86-64"}
    before = path.stat().st_mtime_ns
    assert native_agent.binary(architecture).stat().st_mtime_ns == before
    assert [found.name for found in cache.iterdir()] == [path.name], "nothing half-built stays"


def test_what_is_built_for_this_machine_measures(cache: Path, tmp_path: Path) -> None:
    needs_zig()
    made = make(native_agent.binary(platform.machine()), tmp_path, [4], quick(sittings=1))
    assert made.run().returncode == 0
    assert b'"event":"end"' in made.journal.read_bytes()


def test_an_unknown_architecture_is_refused() -> None:
    with pytest.raises(UnknownName, match="sparc"):
        native_agent.binary("sparc")


def test_a_missing_header_is_named(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(native_agent.INCLUDE, str(tmp_path))
    with pytest.raises(UsageError, match=native_agent.INCLUDE) as caught:
        native_agent.binary(platform.machine())
    assert "onnxruntime_c_api.h" in str(caught.value) and caught.value.fix
    assert not list(cache.iterdir())


def test_a_header_that_does_not_compile_leaves_nothing(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "onnxruntime_c_api.h").write_text("#error not this one\n")
    monkeypatch.setenv(native_agent.INCLUDE, str(tmp_path))
    with pytest.raises(HwnasError, match="not this one"):
        native_agent.binary(platform.machine())
    assert not list(cache.iterdir())


def test_a_missing_compiler_is_named(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setenv("PATH", "")
    for architecture in native_agent.ARCHITECTURES:
        with pytest.raises(MissingExtra, match="native-agent"):
            native_agent.binary(architecture)


def test_weights_are_where_the_model_says(agent: Path, tmp_path: Path) -> None:
    made = make(agent, tmp_path, [4], quick(sittings=1))
    elsewhere = tmp_path / "elsewhere"
    (made.folder / "data").rename(elsewhere)
    assert made.run().returncode == 1
    assert WEIGHTS in json.loads(made.journal.read_bytes().splitlines()[-1])["error"]
    assert made.run("--data", str(elsewhere)).returncode == 0

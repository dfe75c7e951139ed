"""``hwnas profile`` on the command line: what it refuses, what to type next, carried jobs."""

from __future__ import annotations

import hashlib
import json
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest

from hwnas.cli.main import main
from hwnas.cli.measuring import given_words, settings_for
from hwnas.profile import load_descriptor
from tests.support.tables import fingerprint

QUICK = ("--ci", "20", "--calibrate", "0", "--check", "1")

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str]) -> Run:
    def call(*words: object) -> tuple[int, str, str]:
        code = main(["profile", *map(str, words)])
        out, err = capfd.readouterr()
        assert "Traceback" not in err
        return code, out, err

    return call


@pytest.fixture(scope="module")
def carried(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a job that was packed, and measured where it was carried to."""
    folder = tmp_path_factory.mktemp("carried")
    words = ("profile", tiny_bundle, "--pack", folder / "job.tar", "--affinity", "none", *QUICK)
    assert main([str(word) for word in words]) == 0
    assert main(["profile", "--run", str(folder / "job.tar")]) == 0
    return next(folder.glob("hwnas-*"))


def journal_of(job: Path, into: Path, keep: Callable[[list[Any]], list[Any]]) -> Path:
    """A copy of ``job`` with other events."""
    into.mkdir()
    shutil.copy(job / "job.json", into)
    events = [json.loads(line) for line in (job / "journal.jsonl").read_text().splitlines()]
    lines = [json.dumps(event) + "\n" for event in keep(events)]
    (into / "journal.jsonl").write_text("".join(lines))
    return into


def test_a_packed_job_overwrites_nothing_but_a_packed_job(
    run: Run, tiny_bundle: Path, tmp_path: Path
) -> None:
    table, job, bundle = tmp_path / "lut.db", tmp_path / "job.tar", tmp_path / "net.hwnas"
    table.write_bytes(b"SQLite format 3\0" + bytes(600))
    shutil.copytree(tiny_bundle, bundle)
    weights = bundle / "weights.safetensors"
    before = {path: path.read_bytes() for path in (table, weights)}
    pinned = ("--affinity", "0", *QUICK)
    for place, says in (
        (table, "no packed job"),
        (weights, "overwrite"),
        (bundle / "job.tar", "overwrite"),
        (tmp_path, "net.hwnas"),
    ):
        code, _, err = run(bundle, "--pack", place, *pinned)
        assert (code, says in err) == (2, True), (place, err)
    code, _, err = run(bundle, "--pack", job, "-o", job, *pinned)
    assert code == 2, err
    assert {path: path.read_bytes() for path in before} == before
    assert not job.exists()
    assert run(bundle, "--pack", job, *pinned)[0] == 0
    assert run(bundle, "--pack", job, *pinned)[0] == 0, "its own kind it replaces"


@pytest.mark.parametrize("words", [(), ("--affinity", "auto")])
def test_a_packed_job_names_its_cores_or_none(
    run: Run, tiny_bundle: Path, tmp_path: Path, words: tuple[str, ...]
) -> None:
    code, _, err = run(tiny_bundle, "--pack", tmp_path / "job.tar", *words)
    assert code == 2
    assert "--affinity none" in err
    assert not (tmp_path / "job.tar").exists()


def test_auto_is_asked_for_where_the_descriptor_names_cores(tmp_path: Path) -> None:
    (tmp_path / "x.toml").write_text(
        'schema_version = 1\nname = "x"\nkind = "local"\n[measure]\naffinity = [1]\n'
    )
    descriptor = load_descriptor(str(tmp_path / "x.toml"))
    assert settings_for(descriptor, None).affinity == (1,)
    assert settings_for(descriptor, "auto").affinity is None
    assert settings_for(descriptor, "0").affinity == (0,)


def test_what_packing_says_to_type_collects_into_the_table_that_was_named(
    run: Run, tiny_bundle: Path, carried: Path, tmp_path: Path
) -> None:
    job, table = tmp_path / "job.tar", tmp_path / "mine.db"
    code, out, err = run(
        *(tiny_bundle, "--pack", job, "-o", table, "--affinity", "none", *QUICK),
        *("--format", "json"),
    )
    assert code == 0, err
    words = shlex.split(json.loads(out)["then"])
    assert words[:3] == ["hwnas", "profile", str(tiny_bundle)]
    assert words[words.index("-o") + 1] == str(table)
    assert words[words.index("--calibrate") + 1] == "0"
    assert words[words.index("--check") + 1] == "1"
    words[words.index("--collect") + 1] = str(carried)
    code, out, err = run(*words[2:], "--format", "json")
    assert code == 0, err
    found = json.loads(out)
    assert (found["path"], len(found["check"]["subnets"])) == (str(table), 1)


def test_collecting_what_is_not_whole_says_to_finish_it_there(
    run: Run, tiny_bundle: Path, carried: Path, tmp_path: Path
) -> None:
    table = tmp_path / "lut.db"

    def until(kind: str) -> Callable[[list[Any]], list[Any]]:
        return lambda events: events[: [event["event"] for event in events].index(kind)]

    nothing = journal_of(carried, tmp_path / "nothing", until("sat"))
    code, _, err = run(tiny_bundle, "--collect", nothing, "-o", table, *QUICK)
    assert code == 1
    assert "0 of 5 items are finished" in err
    assert not table.exists()

    partly = journal_of(carried, tmp_path / "partly", until("end"))
    code, _, err = run(tiny_bundle, "--collect", partly, "-o", table, *QUICK)
    assert code == 1
    [fix] = [line for line in err.splitlines() if "fix:" in line]
    assert "run the job on the device again" in fix
    assert "--resume" in fix and str(partly) in fix and str(table) in fix
    words = ("--collect", carried, "-o", table, *QUICK)
    assert run(tiny_bundle, *words, "--resume")[0] == 0


def test_collecting_tells_what_the_agent_said_at_its_end(
    run: Run, tiny_bundle: Path, carried: Path, tmp_path: Path
) -> None:
    said = {"event": "error", "error": "core 9 is gone", "fix": "plug it in", "type": ""}
    job = journal_of(carried, tmp_path / "job", lambda events: [events[0], said])
    code, _, err = run(tiny_bundle, "--collect", job, "-o", tmp_path / "lut.db", *QUICK)
    assert code == 1
    assert "core 9 is gone" in err and "plug it in" in err
    assert not (tmp_path / "lut.db").exists()


def test_a_job_of_another_bundle_is_not_collected(
    run: Run, tiny_bundle: Path, carried: Path, tmp_path: Path
) -> None:
    document = json.loads((carried / "job.json").read_text())
    document["items"][0]["key"] = "of another net"
    text = json.dumps(document).encode()
    start = {
        "event": "start", "schema_version": 1, "job": hashlib.sha256(text).hexdigest(),
        "agent": "python", "version": "0.2.0", "time": "2026-01-01T00:00:00Z",
        "fingerprint": fingerprint().model_dump(mode="json"),
    }  # fmt: skip
    job = journal_of(carried, tmp_path / "job", lambda _: [start])
    (job / "job.json").write_bytes(text)
    code, _, err = run(tiny_bundle, "--collect", job, "-o", tmp_path / "lut.db", *QUICK)
    assert code == 2
    assert "another bundle" in err
    assert not (tmp_path / "lut.db").exists()


@pytest.mark.parametrize(
    ("section", "says"),
    [
        ('[runtime]\nversion = "0.0.1"\n', "its descriptor says 0.0.1"),
        ('[runtime]\nname = "no-such-profiler"\n', "no-such-profiler"),
    ],
)
def test_what_the_descriptor_says_of_the_runtime_is_held_to(
    run: Run, tiny_bundle: Path, tmp_path: Path, section: str, says: str
) -> None:
    target = tmp_path / "x.toml"
    target.write_text(f'schema_version = 1\nname = "x"\nkind = "local"\n{section}')
    table = tmp_path / "lut.db"
    code, _, err = run(tiny_bundle, "--target", target, "-o", table, *QUICK)
    assert code in (1, 2)
    assert says in err
    assert not table.exists()


def test_a_policy_that_cannot_be_kept_leaves_no_table(
    run: Run, tiny_bundle: Path, tmp_path: Path
) -> None:
    target = tmp_path / "x.toml"
    policy = '[policy]\ngovernor = "require"\ngovernor_name = "no_such_governor"\n'
    target.write_text(f'schema_version = 1\nname = "x"\nkind = "local"\n{policy}')
    table = tmp_path / "lut.db"
    code, _, err = run(tiny_bundle, "--target", target, "-o", table, *QUICK)
    assert (code, "governor" in err) == (1, True)
    assert not table.exists()


def test_what_an_emulated_target_says_names_no_table(
    run: Run, tiny_bundle: Path, tmp_path: Path
) -> None:
    target = tmp_path / "x.toml"
    target.write_text('schema_version = 1\nname = "x"\nkind = "local"\nemulated = true\n')
    words = ("--ci", "50", "--calibrate", "0", "--check", "0", "--affinity", "none")
    table = tmp_path / "lut.db"
    code, out, err = run(tiny_bundle, "--target", target, "-o", table, *words, "--format", "json")
    assert code == 0, err
    found = json.loads(out)
    assert (found["path"], found["next"], found["measured"]) == (None, None, 0)
    assert found["withheld"] > 0
    assert not table.exists()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--retry-failed",), "--resume"),
        (("--ci", "1e300"), "100"),
        (("--time-limit", "inf"), "86400"),
    ],
)
def test_options_that_cannot_be(
    run: Run, tiny_bundle: Path, tmp_path: Path, words: tuple[str, ...], says: str
) -> None:
    code, _, err = run(tiny_bundle, "-o", tmp_path / "lut.db", *words)
    assert (code, says in err) == (2, True), err
    assert not (tmp_path / "lut.db").exists()


def test_options_are_typed_again_as_they_were_given() -> None:
    said: list[str] = []

    @click.command()
    @click.argument("bundle")
    @click.option("--target", default="cpu")
    @click.option("-o", "--output", default="lut.db")
    @click.option("--ci", type=float)
    @click.option("--energy/--no-energy", default=None)
    @click.option("--subnet", multiple=True)
    @click.option("--threads", type=int)
    @click.pass_context
    def command(context: click.Context, /, **_: object) -> None:
        said.extend(given_words(context, "output"))

    typed = ["--target", "ssh://pi@board:22", "--ci", "0.5", "--no-energy"]
    typed += ["--subnet", "a b", "--subnet", "c"]
    command.main(["net", *typed, "-o", "x.db"], standalone_mode=False)
    assert said == typed

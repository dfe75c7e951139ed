"""Jobs on a device: one at a time, mended where files are damaged, ended where that is asked."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from hwnas.agent.events import End, Round, Start
from hwnas.errors import ProfileError, RemoteError
from hwnas.profile import block_jobs
from hwnas.profile.package import Package, make_package, reference_outputs
from hwnas.remote.jobs import stop_agent
from hwnas.testing.processes import descendants, running, wait_until
from tests.support.bundles import make_bundle
from tests.support.remote import ENDLESS, LONG, QUICK, LoopTarget, describe, make_small_package


@pytest.fixture
def weighty(tmp_path: Path) -> Package:
    """A package whose model has its weights in another file."""
    bundle = make_bundle(tmp_path / "net.hwnas")
    return make_package(block_jobs(bundle)[:1], "onnxruntime", QUICK, reference_outputs)


def pids(work: Path, job_id: str) -> list[int]:
    """The agent, and the shell that waits for it."""
    files = [work / "jobs" / job_id / name for name in ("lock", "started")]
    wait_until(lambda: all(file.exists() and len(file.read_text().split()) == 2 for file in files))
    return [int(file.read_text().split()[0]) for file in files]


def begin(loop: LoopTarget, package: Package) -> None:
    """Until it is at work; it goes on."""
    with closing(loop.measure(package)) as events:
        next(events)


def damage(path: Path) -> None:
    """In place, as a power cut may leave it: of the right size."""
    path.write_bytes(bytes(path.stat().st_size))


def test_a_second_job_is_refused_before_anything_is_sent(
    loop: LoopTarget, tmp_path: Path, work: Path
) -> None:
    first, second = make_small_package(tmp_path, 1, ENDLESS), make_small_package(tmp_path, 1)
    begin(loop, first)
    with pytest.raises(RemoteError, match="still measuring another job") as caught:
        list(LoopTarget(loop.descriptor).measure(second))
    assert first.id[:12] in caught.value.cause
    assert "--resume" in caught.value.fix
    assert f"kill {pids(work, first.id)[0]}" in caught.value.fix
    assert not (work / "jobs" / second.id).exists()
    assert not (work / "blobs" / second.id).exists()
    stop_agent(loop._open(), first.id)
    assert list(loop.measure(second))[-1] == End()


def test_a_job_that_waits_there_is_not_started_beside_another(
    loop: LoopTarget, tmp_path: Path
) -> None:
    first, second = (make_small_package(tmp_path, count, ENDLESS) for count in (2, 1))
    begin(loop, second)
    stop_agent(loop._open(), second.id)
    begin(loop, first)
    waiting = loop.resume(second.id)
    assert waiting is not None
    with pytest.raises(RemoteError, match=first.id[:12]):
        list(waiting)
    stop_agent(loop._open(), first.id)


def test_one_that_has_told_its_end_is_not_in_the_way_of_the_next(
    loop: LoopTarget, tmp_path: Path
) -> None:
    for count in (1, 2):
        assert list(loop.measure(make_small_package(tmp_path, count)))[-1] == End()


def test_an_agent_that_is_stopped_is_gone_and_its_journal_goes_on(
    loop: LoopTarget, tmp_path: Path, work: Path
) -> None:
    package = make_small_package(tmp_path, 1, LONG)
    begin(loop, package)
    processes = pids(work, package.id)
    stop_agent(loop._open(), package.id)
    wait_until(lambda: not any(map(running, processes)))
    stop_agent(loop._open(), package.id)
    following = loop.resume(package.id)
    assert following is not None
    events = list(following)
    assert sum(isinstance(event, Start) for event in events) == 2
    assert events[-1] == End()


@pytest.mark.parametrize("policy", ["set", "record"])
def test_an_agent_ends_with_its_host_only_where_a_governor_is_put_back(
    work: Path, tmp_path: Path, policy: str
) -> None:
    loop = LoopTarget(describe(work, policy={"governor": policy}))
    package = make_small_package(tmp_path, 1, LONG)
    with pytest.raises(KeyboardInterrupt), closing(loop.measure(package)) as events:
        for event in events:
            if isinstance(event, Round):
                agent, _ = pids(work, package.id)
                children = descendants(agent)
                raise KeyboardInterrupt
    assert children
    assert running(agent) == (policy == "record")
    if policy == "set":
        wait_until(lambda: not any(map(running, children)))
    following = loop.resume(package.id)
    assert following is not None
    assert list(following)[-1] == End()
    assert loop.told == []


def test_weights_that_were_damaged_are_sent_again(
    loop: LoopTarget, weighty: Package, work: Path
) -> None:
    [(name, sha256)] = weighty.data.items()
    begin(loop, weighty)
    stop_agent(loop._open(), weighty.id)
    job = work / "jobs" / weighty.id
    (job / "journal.jsonl").unlink()
    damage(work / "blobs" / sha256)
    assert (job / "data" / name).read_bytes() == (work / "blobs" / sha256).read_bytes()
    assert list(loop.measure(weighty))[-1] == End()


def test_a_damaged_job_that_is_resumed_says_what_to_remove(
    loop: LoopTarget, weighty: Package, work: Path
) -> None:
    [name] = weighty.data
    begin(loop, weighty)
    stop_agent(loop._open(), weighty.id)
    job = work / "jobs" / weighty.id
    (job / "journal.jsonl").unlink()
    damage(job / "data" / name)
    following = loop.resume(weighty.id)
    assert following is not None
    with pytest.raises(ProfileError, match="is not what was sent") as caught:
        list(following)
    assert f"rm -r {job}" in caught.value.fix


def test_a_job_that_cannot_be_removed_is_told_of_and_not_waited_for(
    loop: LoopTarget, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = make_small_package(tmp_path, 1)
    assert list(loop.measure(package))[-1] == End()
    monkeypatch.setattr("hwnas.remote.jobs._REMOVE", "echo 'read-only' >&2; exit 1")
    loop.forget(package.id)
    [line] = loop.told
    assert "read-only" in line
    assert f"{loop.descriptor.transport.work}/jobs/{package.id}" in line

"""Fixtures of the tests of transports and remote targets."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from hwnas.profile.transport import Transport
from hwnas.remote import follow
from hwnas.remote.shell import LocalTransport
from hwnas_targets.ssh import SshTransport
from tests.support.remote import LoopTarget, describe
from tests.support.sshd import Sshd


@pytest.fixture
def sshd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sshd]:
    """A real sshd, which ``SshTransport`` finds through its own configuration file."""
    folder = tmp_path / "sshd"
    folder.mkdir()
    server = Sshd(folder)
    monkeypatch.setenv("HWNAS_SSH_CONFIG", str(server.config))
    yield server
    server.stop()


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """The work folder of a device."""
    return tmp_path / "work"


@pytest.fixture
def prompt(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever follows a journal looks ten times a second, not once: tests do little else."""
    assert "sleep 1\n" in follow._POLL
    monkeypatch.setattr(follow, "_POLL", follow._POLL.replace("sleep 1\n", "sleep 0.1\n"))


@pytest.fixture
def loop(work: Path, prompt: None) -> LoopTarget:
    """This machine, reached by its own shell, as a device with that work folder."""
    return LoopTarget(describe(work))


@pytest.fixture
def ssh(sshd: Sshd) -> Iterator[SshTransport]:
    transport = SshTransport("127.0.0.1", sshd.port, name="board")
    yield transport
    transport.close()


@pytest.fixture(params=["local", "ssh"])
def transport(request: pytest.FixtureRequest) -> Iterator[Transport]:
    """Each transport that can be had on one machine."""
    if request.param == "local":
        yield LocalTransport()
    else:
        yield request.getfixturevalue("ssh")

"""What only ssh has: keys, refusals, connections that end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from hwnas.errors import AuthenticationFailed, HostKeyChanged, LinkLost, NoSuchDevice, UsageError
from hwnas.testing.processes import running, wait_until
from hwnas_targets.ssh import SshTransport
from hwnas_targets.ssh_errors import classify
from tests.support.sshd import Sshd


def test_a_changed_host_key_is_refused_and_says_what_to_do(sshd: Sshd) -> None:
    sshd.new_host_key()
    with pytest.raises(HostKeyChanged, match="is not the one on record") as caught:
        SshTransport("127.0.0.1", sshd.port, name="board").run("echo")
    assert "ssh-keygen" in caught.value.fix
    assert f"-R [127.0.0.1]:{sshd.port}" in caught.value.fix.replace("'", "").replace('"', "")
    assert caught.value.exit_code == 5


def test_a_key_that_changes_in_a_session_is_noticed(sshd: Sshd, ssh: SshTransport) -> None:
    assert ssh.run("echo x").code == 0
    sshd.new_host_key()
    with pytest.raises((LinkLost, HostKeyChanged)):
        ssh.run("echo")
    with pytest.raises(HostKeyChanged):
        ssh.run("echo")


def test_an_unknown_host_key_is_refused(sshd: Sshd, ssh: SshTransport) -> None:
    sshd.known_hosts.write_text("")
    with pytest.raises(HostKeyChanged, match="no host key of board is on record") as caught:
        ssh.run("echo")
    assert "once by hand" in caught.value.fix
    assert sshd.known_hosts.read_text() == ""


def test_a_wrong_key_is_refused(sshd: Sshd, ssh: SshTransport) -> None:
    sshd.write_config(sshd.other_key())
    with pytest.raises(AuthenticationFailed, match="does not accept your key") as caught:
        ssh.run("echo")
    assert "ssh-copy-id" in caught.value.fix


def test_an_identity_that_is_readable_by_others_is_named(sshd: Sshd) -> None:
    sshd.user_key.chmod(0o644)
    with pytest.raises(AuthenticationFailed) as caught:
        SshTransport("127.0.0.1", sshd.port, name="board").run("echo")
    assert str(sshd.user_key) in caught.value.fix
    assert "chmod 600" in caught.value.fix


def test_the_identity_that_is_given_is_used(sshd: Sshd) -> None:
    sshd.write_config(Path("/nonexistent"))
    given = SshTransport("127.0.0.1", sshd.port, identity=str(sshd.user_key))
    assert given.run("echo x").stdout == b"x\n"
    given.close()


def test_an_identity_of_nobodys_home_is_one_error() -> None:
    with pytest.raises(UsageError, match="~nosuchuser/id"):
        SshTransport("127.0.0.1", identity="~nosuchuser/id")


def test_refused_and_unknown_hosts_are_told_apart(sshd: Sshd) -> None:
    sshd.stop()
    with pytest.raises(NoSuchDevice, match="refuses connections"):
        SshTransport("127.0.0.1", sshd.port).run("echo")
    with pytest.raises(NoSuchDevice, match=r"no host is called nothing\.invalid"):
        SshTransport("nothing.invalid").run("echo")


def test_a_jump_host_is_used(sshd: Sshd) -> None:
    user = subprocess.run(["id", "-un"], capture_output=True, text=True).stdout.strip()
    jump = f"{user}@127.0.0.1:{sshd.port}"
    through = SshTransport("localhost", sshd.port, jump=jump)
    assert through.run('echo "$SSH_CONNECTION"').stdout.startswith(b"127.0.0.1 ")
    accepted = (sshd.folder / "sshd.log").read_text().count("Accepted publickey")
    assert accepted == 2
    through.close()


def test_one_connection_serves_all_scripts(sshd: Sshd, ssh: SshTransport) -> None:
    for _ in range(5):
        ssh.run("echo")
    assert (sshd.folder / "sshd.log").read_text().count("Accepted publickey") == 1


def test_a_cut_in_mid_command_is_a_lost_link_and_the_next_connects(
    sshd: Sshd, ssh: SshTransport
) -> None:
    ssh.run("echo")
    threading.Timer(0.5, sshd.cut).start()
    begin = time.monotonic()
    with pytest.raises(LinkLost, match="the link to board was lost"):
        ssh.run("echo half; sleep 60; echo whole")
    assert time.monotonic() - begin < 30
    assert ssh.run("echo again").stdout == b"again\n"


def test_a_server_that_allows_one_session_is_no_obstacle(sshd: Sshd, ssh: SshTransport) -> None:
    sshd.stop()
    sshd.start("MaxSessions=1")
    assert ssh.run("echo x").stdout == b"x\n"


def test_an_account_without_a_shell_is_no_endless_wait(sshd: Sshd, ssh: SshTransport) -> None:
    sshd.stop()
    sshd.start("ForceCommand=echo no commands here >&2; false")
    with pytest.raises(LinkLost, match="no commands here"):
        ssh.run("echo")


def test_close_leaves_no_process_and_no_socket(sshd: Sshd, ssh: SshTransport) -> None:
    ssh.run("echo")
    before = _with_config(sshd)
    assert before
    ssh.close()
    assert not [pid for pid in before if running(pid)]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_session_ends_with_its_process(sshd: Sshd, tmp_path: Path, number: int) -> None:
    code = (
        "from hwnas_targets.ssh import SshTransport\n"
        f"t = SshTransport('127.0.0.1', {sshd.port})\n"
        f"t.run('echo > {tmp_path}/there')\n"
        "import time; time.sleep(60)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL)
    wait_until((tmp_path / "there").exists)
    assert _with_config(sshd)
    os.kill(process.pid, number)
    process.wait(20)
    wait_until(lambda: not _with_config(sshd), 20)


def _with_config(sshd: Sshd) -> list[int]:
    """Processes of ssh that use this test's configuration."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
        except OSError:
            continue
        if words[0].endswith(b"ssh") and str(sshd.config).encode() in words:
            found.append(int(path.parent.name))
    return found


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ("ssh: connect to host h port 22: Connection timed out", NoSuchDevice),
        ("ssh: connect to host h port 22: No route to host", NoSuchDevice),
        (
            "Received disconnect from 1.2.3.4: Too many authentication failures",
            AuthenticationFailed,
        ),
        ("kex_exchange_identification: Connection closed by remote host", LinkLost),
        ("kex_exchange_identification: read: Connection reset by peer", LinkLost),
        ("u@h: Permission denied (publickey,password).", AuthenticationFailed),
        ("", LinkLost),
    ],
)
def test_what_ssh_says_has_a_type(said: str, kind: type[Exception]) -> None:
    error = classify(said.encode(), "board", "ssh u@h")
    assert type(error) is kind
    assert "board" in error.cause
    assert "\n" not in error.cause

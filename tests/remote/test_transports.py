"""Scripts through each transport, against the real shell and a real sshd."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from hwnas.errors import LinkLost, RemoteError
from hwnas.profile.transport import Transport
from hwnas.remote.shell import LocalTransport, command_line, read_framed
from hwnas.testing.processes import running, wait_until


def test_bytes_pass_unchanged_both_ways(transport: Transport) -> None:
    data = bytes(range(256)) * 3
    assert transport.run("cat", stdin=data).stdout == data
    assert transport.run("cat").stdout == b""
    big = random.Random(1).randbytes(5_000_000)
    assert transport.run("cat", stdin=big).stdout == big


def test_stdin_may_be_a_file(transport: Transport, tmp_path: Path) -> None:
    data = random.Random(2).randbytes(300_000)
    (tmp_path / "data").write_bytes(data)
    with (tmp_path / "data").open("rb") as stream:
        assert transport.run("cat", stdin=stream).stdout == data


def test_a_script_that_reads_nothing_is_no_loss(transport: Transport) -> None:
    assert transport.run("exit 4", stdin=bytes(3_000_000)).code == 4


def test_exit_codes_are_told(transport: Transport) -> None:
    for code in (0, 1, 2, 126, 127, 128, 130, 137, 254, 255):
        result = transport.run('echo out; echo err >&2; exit "$1"', str(code))
        assert (result.code, result.stdout) == (code, b"out\n")
        assert result.stderr.endswith(b"err\n")


def test_all_exit_codes_are_told() -> None:
    here = LocalTransport()
    assert [here.run('exit "$1"', str(code)).code for code in range(256)] == list(range(256))


def test_arguments_are_not_shell(transport: Transport, tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    nasty = ["", " ", "a b", "'", '"', "$HOME", f"$(touch {marker})", f"`touch {marker}`"]
    nasty += [f"; touch {marker}", "-n", "*", "ä\n\tz", "\\", "~", "!!", "&", "|", "\x01"]
    result = transport.run('for a; do printf "%s\\0" "$a"; done', *nasty)
    assert result.stdout == b"".join(word.encode() + b"\0" for word in nasty)
    assert not marker.exists()


def test_output_that_looks_like_an_end_is_output(transport: Transport) -> None:
    script = 'echo 0123456789abcdef0123456789abcdef 0; printf "no newline"'
    assert transport.run(script).stdout.endswith(b" 0\nno newline")


def test_a_script_that_is_killed_has_its_code(transport: Transport) -> None:
    assert transport.run("kill -9 $$").code == 128 + 9


def test_time_is_up(transport: Transport) -> None:
    begin = time.monotonic()
    with pytest.raises(LinkLost, match=r"did not answer within 0\.5 s"):
        transport.run("sleep 30", timeout_s=0.5)
    assert time.monotonic() - begin < 20
    assert transport.run("echo still").stdout == b"still\n"


def test_endless_output_is_cut_off() -> None:
    with pytest.raises(RemoteError, match="more than 64 MiB"):
        LocalTransport("board").run("yes")


def test_zero_bytes_and_long_arguments_are_refused() -> None:
    for word in ("a\0b", "x" * 200_000):
        with pytest.raises(ValueError, match="too long, or hold a zero byte"):
            LocalTransport().run("echo", word)


def test_a_greeting_before_the_script_does_no_harm() -> None:
    line = command_line('printf "%s" "$1"', ["x"], "abc")
    done = subprocess.run(["sh", "-c", "echo welcome; printf hello; " + line], capture_output=True)
    assert read_framed(done.stdout, "abc") == (0, b"x")


@pytest.mark.parametrize(
    "output",
    [b"", b"n\n", b"n\nout\n", b"n\nout\nn 0", b"n\nout\nn 1000\n", b"out\nn 0\n", b"n\n\nn x\n"],
)
def test_without_its_end_a_script_did_not_end(output: bytes) -> None:
    assert read_framed(output, "n") is None


def test_nothing_is_left_after_ctrl_c(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    code = (
        "from hwnas.remote.shell import LocalTransport\n"
        f"LocalTransport().run('echo $$ > {pid_file}; sleep 60; echo')\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL)
    wait_until(lambda: pid_file.exists() and pid_file.read_text().strip())
    process.send_signal(signal.SIGINT)
    process.wait(20)
    assert not running(int(pid_file.read_text()))


def test_a_transport_may_be_used_from_one_thread_after_another(transport: Transport) -> None:
    found: list[bytes] = []
    for _ in range(2):
        thread = threading.Thread(target=lambda: found.append(transport.run("echo x").stdout))
        thread.start()
        thread.join()
    assert found == [b"x\n", b"x\n"]

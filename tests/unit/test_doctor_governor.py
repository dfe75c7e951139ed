"""Governors are held while measuring and put back whatever happens, on a copied ``/sys``."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

import pytest

from hwnas.doctor.governor import hold_governor, read_governors
from hwnas.errors import LinkLost, ProfileError
from hwnas.profile.descriptor import Descriptor, parse_descriptor
from hwnas.profile.transport import Result
from tests.support.shells import Here


class Board:
    """A copied ``/sys`` with three cores, and a work folder."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "root"
        self.work = folder / "work"
        for core, name in enumerate(["ondemand", "schedutil", "performance"]):
            path = self.file(core)
            path.parent.mkdir(parents=True)
            path.write_text(f"{name}\n")

    def file(self, core: int) -> Path:
        return self.root / f"sys/devices/system/cpu/cpu{core}/cpufreq/scaling_governor"

    def shown(self) -> list[str]:
        return [self.file(core).read_text().strip() for core in range(3)]

    def descriptor(self, policy: str, more: str = "") -> Descriptor:
        return parse_descriptor(
            f'schema_version = 1\nname = "board"\nkind = "ssh"\n[transport]\nhost = "b"\n'
            f'work = "{self.work}"\n[policy]\ngovernor = "{policy}"\n{more}',
            "board.toml",
        )

    def kept(self) -> Path:
        return self.work / "governors"


BEFORE = ["ondemand", "schedutil", "performance"]


@pytest.fixture
def board(tmp_path: Path) -> Board:
    return Board(tmp_path)


def test_record_changes_nothing(board: Board) -> None:
    with hold_governor(Here(), board.descriptor("record"), root=str(board.root)) as found:
        assert found == dict(enumerate(BEFORE))
        assert board.shown() == BEFORE
    assert not board.work.exists()


def test_record_where_there_are_none(board: Board, tmp_path: Path) -> None:
    empty = str(tmp_path / "empty")
    assert read_governors(Here(), empty) == {}
    with hold_governor(Here(), board.descriptor("record"), root=empty) as found:
        assert found == {}


@pytest.mark.parametrize("policy", ["require", "set"])
def test_others_need_governors(board: Board, tmp_path: Path, policy: str) -> None:
    with (
        pytest.raises(ProfileError, match="shows no frequency governors") as caught,
        hold_governor(Here(), board.descriptor(policy), root=str(tmp_path / "empty")),
    ):
        pass
    assert "record" in caught.value.fix


def test_require_names_the_command_to_type(board: Board) -> None:
    with (
        pytest.raises(ProfileError, match="core 0: ondemand, core 1: schedutil") as caught,
        hold_governor(Here(), board.descriptor("require"), root=str(board.root)),
    ):
        pass
    assert "echo performance | sudo tee" in caught.value.fix
    assert board.shown() == BEFORE


def test_require_asks_only_for_the_cores_in_use(board: Board) -> None:
    descriptor = board.descriptor("require", "[measure]\naffinity = [2]\n")
    with hold_governor(Here(), descriptor, root=str(board.root)) as found:
        assert found[2] == "performance"


def test_set_puts_each_core_back(board: Board) -> None:
    with hold_governor(Here(), board.descriptor("set"), root=str(board.root)) as found:
        assert set(found.values()) == {"performance"}
        assert board.shown() == ["performance"] * 3
        assert board.kept().is_file()
    assert board.shown() == BEFORE
    assert not board.kept().exists()


def test_set_touches_only_the_cores_in_use(board: Board) -> None:
    descriptor = board.descriptor("set", "[measure]\naffinity = [1]\n")
    with hold_governor(Here(), descriptor, root=str(board.root)):
        assert board.shown() == ["ondemand", "performance", "performance"]
    assert board.shown() == BEFORE


@pytest.mark.parametrize("error", [ProfileError("x"), KeyboardInterrupt(), SystemExit(3)])
def test_set_puts_back_after_errors_and_interrupts(board: Board, error: BaseException) -> None:
    with (
        pytest.raises(type(error)),
        hold_governor(Here(), board.descriptor("set"), root=str(board.root)),
    ):
        raise error
    assert board.shown() == BEFORE


def test_set_without_permission_says_what_to_type(board: Board) -> None:
    # What root cannot write either: a folder where the file should be read and written.
    descriptor = board.descriptor("set", 'governor_name = "userspace"\n')

    class ReadOnly(Here):
        def run(
            self, script: str, *args: str, stdin: bytes | BinaryIO = b"", timeout_s: float = 60.0
        ) -> Result:
            # The kernel refuses writes; the rest of the script runs as it is.
            refusing = script.replace(
                'echo "${line#* }" >', 'echo "${line#* }" >/proc/nowhere; : <'
            )
            return super().run(refusing, *args, stdin=stdin, timeout_s=timeout_s)

    with (
        pytest.raises(ProfileError, match="setting it failed") as caught,
        hold_governor(ReadOnly(), descriptor, root=str(board.root)),
    ):
        pass
    assert "echo userspace | sudo tee" in caught.value.fix
    assert board.shown() == BEFORE
    assert not board.kept().exists()


def test_set_without_a_work_folder_changes_nothing(board: Board) -> None:
    board.work.write_text("a file")
    with (
        pytest.raises(ProfileError, match="cannot write"),
        hold_governor(Here(), board.descriptor("set"), root=str(board.root)),
    ):
        pass
    assert board.shown() == BEFORE


def test_what_a_killed_run_left_is_put_back_by_the_next(board: Board) -> None:
    first = hold_governor(Here(), board.descriptor("set"), root=str(board.root))
    first.__enter__()
    assert board.shown() == ["performance"] * 3
    with hold_governor(Here(), board.descriptor("set"), root=str(board.root)):
        pass
    assert board.shown() == BEFORE
    assert not board.kept().exists()
    first.__exit__(None, None, None)


def test_a_link_that_is_lost_is_told_and_hides_no_other_error(board: Board) -> None:
    class Cut(Here):
        lost = False

        def run(
            self, script: str, *args: str, stdin: bytes | BinaryIO = b"", timeout_s: float = 60.0
        ) -> Result:
            if self.lost:
                raise LinkLost("the link to board was lost")
            return super().run(script, *args, stdin=stdin, timeout_s=timeout_s)

    cut, told = Cut(), list[str]()
    with (
        pytest.raises(ZeroDivisionError),
        hold_governor(cut, board.descriptor("set"), told.append, str(board.root)),
    ):
        cut.lost = True
        raise ZeroDivisionError
    assert told == ["governors were not put back on board: the link to board was lost"]
    assert board.kept().is_file()
    with hold_governor(Here(), board.descriptor("set"), root=str(board.root)):
        pass
    assert board.shown() == BEFORE


def test_what_a_device_calls_a_governor_is_not_believed(board: Board) -> None:
    board.file(0).write_text("$(touch /tmp/x)\n")
    board.file(1).write_text("x" * 300 + "\n")
    assert read_governors(Here(), str(board.root)) == {2: "performance"}

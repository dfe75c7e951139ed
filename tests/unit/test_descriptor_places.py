"""Where descriptors are looked for: what others bring, and home folders that are not there."""

from __future__ import annotations

from pathlib import Path

import pytest

from hwnas.errors import HwnasError, UsageError
from hwnas.profile.descriptor import (
    Listed,
    list_descriptors,
    load_descriptor,
    parse_descriptor,
    user_folder,
)

LOCAL = 'schema_version = 1\nname = "board"\nkind = "local"\n'
SSH = LOCAL.replace("local", "ssh") + '[transport]\nhost = "board"\n'


@pytest.mark.parametrize(
    "text",
    [
        LOCAL + '[runtime]\nlibrary = "~no-such-user/x.so"\n',
        LOCAL + '[runtime]\nprogram = "~no-such-user/agent"\n',
        SSH + 'identity = "~no-such-user/id"\n',
    ],
)
def test_an_unknown_home_folder_is_an_error_of_that_file_alone(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HWNAS_TARGETS", str(tmp_path))
    (tmp_path / "board.toml").write_text(text)
    with pytest.raises(UsageError, match="no such home folder") as caught:
        load_descriptor("board")
    assert "board.toml" in caught.value.cause
    assert load_descriptor("cpu").kind == "local"


def test_the_users_folder_follows_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HWNAS_TARGETS", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert user_folder() == tmp_path / "hwnas" / "targets"
    monkeypatch.delenv("XDG_CONFIG_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert user_folder() == tmp_path / ".config" / "hwnas" / "targets"


def test_the_users_folder_without_a_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HWNAS_TARGETS", "~no-such-user/targets")
    with pytest.raises(UsageError, match="HWNAS_TARGETS"):
        user_folder()
    monkeypatch.delenv("HWNAS_TARGETS")
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)

    def nobody() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", nobody)
    assert user_folder() == Path("~/.config/hwnas/targets")


@pytest.fixture
def strangers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of descriptors that a distribution ``stranger`` brings; there are no own ones."""
    monkeypatch.setenv("HWNAS_TARGETS", str(tmp_path / "none"))
    package = tmp_path / "site" / "strangers_boards"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    info = tmp_path / "site" / "stranger-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: stranger\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[hwnas.descriptors]\nodd = strangers_boards\n")
    monkeypatch.syspath_prepend(tmp_path / "site")
    return package


def listed(name: str) -> Listed:
    return next(found for found in list_descriptors() if found.name == name)


def test_two_distributions_may_bring_descriptors_but_not_one_name(strangers: Path) -> None:
    (strangers / "odd.toml").write_text(LOCAL.replace("board", "odd-board"))
    assert listed("odd-board").origin == "built-in (stranger)"
    (strangers / "cpu.toml").write_text(LOCAL.replace("board", "cpu"))
    with pytest.raises(UsageError, match="two descriptors are called 'cpu'") as caught:
        load_descriptor("cpu")
    assert "hwnas" in caught.value.cause
    assert "stranger" in caught.value.cause


@pytest.mark.parametrize("point", ["strangers_boards", "no_such_module"])
def test_what_others_bring_broken_is_listed_with_its_error(point: str, strangers: Path) -> None:
    (strangers / "odd.toml").write_bytes(b'name = "\xff"')
    [entry_points] = strangers.parent.glob("*/entry_points.txt")
    entry_points.write_text(f"[hwnas.descriptors]\nodd = {point}\n")
    odd = listed("odd")
    assert isinstance(odd.descriptor, HwnasError)
    assert odd.origin == "built-in (stranger)"
    assert load_descriptor("cpu").kind == "local"


def test_the_error_says_which_key(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"x\.toml: runtime\.library is '~no-such-user/x\.so'"):
        parse_descriptor(LOCAL + '[runtime]\nlibrary = "~no-such-user/x.so"\n', "x.toml", tmp_path)

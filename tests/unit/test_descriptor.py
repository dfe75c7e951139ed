from __future__ import annotations

import re
from dataclasses import replace
from importlib import resources
from pathlib import Path
from types import UnionType
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from hwnas.agent.settings import Settings
from hwnas.errors import HwnasError, NewerSchema, UnknownName, UsageError
from hwnas.profile.descriptor import (
    Descriptor,
    Listed,
    list_descriptors,
    load_descriptor,
    parse_descriptor,
    parse_url,
)

HEAD = 'schema_version = 1\nname = "board"\n'
SSH = HEAD + 'kind = "ssh"\n[transport]\nhost = "pi@board.local"\n'
LOCAL = HEAD + 'kind = "local"\n'


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's folder of descriptors: empty, and not that of whoever runs the tests."""
    folder = tmp_path / "targets"
    folder.mkdir()
    monkeypatch.setenv("HWNAS_TARGETS", str(folder))
    return folder


def parse(text: str) -> Descriptor:
    return parse_descriptor(text, "board.toml")


def refused(text: str, kind: type[HwnasError] = UsageError) -> HwnasError:
    with pytest.raises(kind) as caught:
        parse(text)
    assert "\n" not in caught.value.cause
    assert "board.toml" in caught.value.cause
    assert caught.value.fix
    return caught.value


def listed(name: str) -> Listed:
    return next(found for found in list_descriptors() if found.name == name)


def built_in() -> list[Any]:
    package = resources.files("hwnas_targets.data")
    return [entry for entry in package.iterdir() if entry.name.endswith(".toml")]


def test_what_is_left_out_has_defaults() -> None:
    found = parse(SSH)
    assert (found.transport.user, found.transport.host) == ("pi", "board.local")
    assert found.transport.work == "~/.cache/hwnas"
    assert found.runtime.agent == "python"
    assert not found.emulated
    assert found.sensors.names is None
    assert found.overrides() == {}
    assert parse(HEAD + 'kind = "adb"').transport.work == "/data/local/tmp/hwnas"


def test_every_key_is_read() -> None:
    ssh = 'port = 2222\njump = "me@gate:22,[fe80::1]:2200"\nidentity = "~/.ssh/id"\nwork = "/x"\n'
    given = {
        "device": 'architecture = "aarch64"\nlibc = "glibc 2.36"\n',
        "runtime": 'agent = "native"\npython = "~/v/bin/python"\nname = "other"\n'
        'version = "1.32.0"\nlibrary = "x.so.1.32.0"\nprogram = "p"\nprovider = "XProvider"\n',
        "measure": "threads = 2\naffinity = [2, 3]\ncooldown_s = 1\ntime_limit_s = 9.5\n"
        "energy = true\n",
        "policy": 'governor = "set"\ngovernor_name = "userspace"\n',
        "limits": "max_temperature_c = 70\n",
        "sensors": 'names = ["thermal", "rpi"]\n',
    }
    found = parse(SSH + ssh + "".join(f"[{name}]\n{keys}" for name, keys in given.items()))
    assert found.transport.model_fields_set == {"host", "user", "port", "jump", "identity", "work"}
    for name in given:
        section = getattr(found, name)
        unread = {
            key for key in type(section).model_fields
            if getattr(section, key) == getattr(type(section)(), key)
        }  # fmt: skip
        # There is only one precision so far.
        assert unread == ({"precision"} if name == "runtime" else set()), name


def test_settings_take_what_was_given_and_no_more() -> None:
    found = parse(LOCAL + '[measure]\nthreads = 2\naffinity = [1, 0]\n[runtime]\nprovider = "X"\n')
    changed = replace(Settings(cooldown_s=4.0, seed=7), **found.overrides())
    assert (changed.threads, changed.affinity, changed.provider) == (2, (0, 1), "X")
    assert (changed.cooldown_s, changed.seed) == (4.0, 7)


@pytest.mark.parametrize(
    ("text", "key", "allowed"),
    [
        ('name = "x"\nkind = "local"', "schema_version is missing", "1"),
        ('schema_version = 1\nkind = "local"', "name is missing", "letters"),
        (HEAD, "kind is missing", "ssh"),
        (HEAD.replace("board", "My Board") + 'kind = "local"', "name is 'My Board'", "letters"),
        (HEAD + 'kind = "ssh"', "no host", "section"),
        (LOCAL + "[transport]\nport = 3", "[transport] has port", "section"),
        (SSH + 'port = "22"', "transport.port is '22'", "65535"),
        (SSH + "port = 0", "transport.port is 0", "65535"),
        (SSH + 'user = "other"', "transport.host is 'pi@board.local', user 'other'", "host"),
        (SSH + 'user = "-x"', "user", "host"),
        (SSH + 'work = "/a/../b"', "transport.work is '/a/../b'", "without .."),
        (SSH + 'work = "/"', "transport.work is '/'", "without .."),
        (SSH + 'work = "~"', "transport.work is '~'", "without .."),
        (SSH + 'work = "a"', "transport.work is 'a'", "without .."),
        (SSH + 'work = "/a b"', "transport.work is '/a b'", "without .."),
        (SSH + 'work = "/$(id)"', "transport.work", "without .."),
        (SSH + 'jump = "a,,b"', "transport.jump is 'a,,b'", "commas"),
        (SSH + 'identity = "-i"', "transport.identity is '-i'", "key"),
        (SSH.replace("pi@board.local", "-oProxyCommand=id"), "transport.host", "host"),
        (SSH.replace("pi@board.local", "@board"), "transport.host", "host"),
        (SSH.replace("pi@board.local", "a b"), "transport.host is 'a b'", "host"),
        (LOCAL + '[runtime]\npython = "a; id"', "runtime.python is 'a; id'", "command"),
        (LOCAL + '[runtime]\nagent = "java"', "runtime.agent is 'java'", "python or native"),
        (LOCAL + '[runtime]\nlibrary = "x.dll"', "runtime.library is 'x.dll'", ".whl"),
        (LOCAL + '[runtime]\nprecision = "bfloat16"', "runtime.precision", "float32"),
        (LOCAL + "[measure]\nthreads = 1.0", "measure.threads is 1.0", "1024"),
        (LOCAL + "[measure]\nthreads = true", "measure.threads is True", "1024"),
        (LOCAL + "[measure]\naffinity = []", "measure.affinity is []", "[2, 3]"),
        (LOCAL + "[measure]\naffinity = [1, -1]", "measure.affinity.1 is -1", "[2, 3]"),
        (LOCAL + "[measure]\ncooldown_s = nan", "measure.cooldown_s is nan", "3600"),
        (LOCAL + "[measure]\ntime_limit_s = 0", "measure.time_limit_s is 0", "more than 0"),
        (LOCAL + '[policy]\ngovernor = "Set"', "policy.governor is 'Set'", "record, require"),
        (LOCAL + "[limits]\nmax_temperature_c = 5", "limits.max_temperature_c is 5", "20 to 150"),
        (LOCAL + '[sensors]\nnames = ["heat"]', "sensors.names.0 is 'heat'", "thermal"),
        (LOCAL + "emulated = 1", "emulated is 1", "true or false"),
        (LOCAL + "measure = 1", "measure is 1", "[measure]"),
        (LOCAL + "x = 2024-01-01\n= 3", "is not TOML", "mend"),
        ("[[[[", "is not TOML", "mend"),
        ("a=" + "[" * 5000, "is not TOML", "mend"),
    ],
)
def test_an_error_names_file_key_and_what_is_allowed(text: str, key: str, allowed: str) -> None:
    error = refused(text)
    assert key in error.cause
    assert allowed in error.fix


def test_unknown_keys_suggest_the_close_one() -> None:
    error = refused(SSH.replace("host", "hots"), UnknownName)
    assert "[transport]" in error.cause
    assert "did you mean 'host'" in error.fix
    assert "did you mean 'threads'" in refused(LOCAL + "[measure]\nthread = 1", UnknownName).fix
    assert "did you mean 'policy'" in refused(LOCAL + "[polcy]\n", UnknownName).fix


def test_a_newer_file_says_so() -> None:
    with pytest.raises(NewerSchema, match="schema_version 2"):
        parse("schema_version = 2\nanything = 1")


def test_every_key_says_what_it_may_hold() -> None:
    def check(model: type[BaseModel]) -> None:
        for key, field in model.model_fields.items():
            kind = field.annotation
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                check(kind)
            else:
                assert field.description, f"{model.__name__}.{key}"
                assert not any(
                    isinstance(part, type) and issubclass(part, BaseModel)
                    for part in (get_args(kind) if isinstance(kind, UnionType) else ())
                )

    check(Descriptor)


@pytest.mark.parametrize(
    ("url", "name", "transport"),
    [
        ("ssh://board", "board", {"host": "board"}),
        ("ssh://pi@Board.local", "board.local", {"host": "Board.local", "user": "pi"}),
        (
            "ssh://pi@board:2222/data/w/",
            "board",
            {"host": "board", "user": "pi", "port": 2222, "work": "/data/w"},
        ),
        ("ssh://board/~/w", "board", {"host": "board", "work": "~/w"}),
        ("ssh://[fe80::1%eth0]:22", "fe80-1-eth0", {"host": "fe80::1%eth0", "port": 22}),
        ("adb://R5CT30", "r5ct30", {"serial": "R5CT30"}),
        ("adb://192.168.0.7:5555", "192.168.0.7-5555", {"serial": "192.168.0.7:5555"}),
        ("adb://", "device", {}),
    ],
)
def test_urls(url: str, name: str, transport: dict[str, object]) -> None:
    found = load_descriptor(url)
    assert found.name == name
    assert found.kind == url.partition(":")[0]
    given = found.transport.model_dump(exclude_defaults=True)
    if "work" not in transport:
        assert given.pop("work")
    assert given == transport


@pytest.mark.parametrize(
    "url",
    [
        "ssh://", "ssh:///w", "ssh://pi:secret@board", "ssh://-oProxyCommand=id", "ssh://b/../x",
        "ssh://b:0", "ssh://b:99999", "ssh://b:x", "ssh://b?x", "ssh://b/a b", "ssh://@b", "ssh://[b",
        "ssh://[1.2]", "adb://a b", "adb://-s", "http://board", "://", "ssh://b\n", "ssh://b/$(id)",
    ],
)  # fmt: skip
def test_no_urls(url: str) -> None:
    with pytest.raises(UsageError) as caught:
        load_descriptor(url)
    assert "\n" not in caught.value.cause
    assert caught.value.fix


def test_a_password_is_refused_by_name() -> None:
    with pytest.raises(UsageError, match="never a password"):
        parse_url("ssh://pi:raspberry@board")


def test_the_built_in_ones_are_valid_and_named_as_their_files() -> None:
    names = {entry.name.removesuffix(".toml") for entry in built_in()}
    assert names == {"cpu", "raspberry-pi-4", "raspberry-pi-5", "jetson-orin", "android-arm64"}
    for entry in built_in():
        found = parse_descriptor(entry.read_text(encoding="utf-8"), entry.name)
        assert f"{found.name}.toml" == entry.name


def test_built_in_ones_are_found_by_name() -> None:
    assert load_descriptor("cpu").kind == "local"
    assert load_descriptor("raspberry-pi-4").transport.user == "pi"
    assert listed("cpu").origin == "built-in (hwnas)"


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(UnknownName) as caught:
        load_descriptor("raspberry-pi-3")
    assert "did you mean 'raspberry-pi" in caught.value.fix
    assert "cpu" in caught.value.fix
    assert "ssh://" in caught.value.fix


def test_the_users_own_wins_and_is_said_to(folder: Path) -> None:
    (folder / "mine.toml").write_text(LOCAL.replace("board", "cpu") + "[measure]\nthreads = 2\n")
    assert load_descriptor("cpu").measure.threads == 2
    found = listed("cpu")
    assert found.origin == str(folder / "mine.toml")
    assert found.hides == ("built-in (hwnas)",)


def test_two_of_one_name_are_an_error_that_names_both(folder: Path) -> None:
    (folder / "a.toml").write_text(LOCAL)
    (folder / "b.toml").write_text(LOCAL)
    with pytest.raises(UsageError) as caught:
        load_descriptor("board")
    assert "a.toml" in caught.value.cause
    assert "b.toml" in caught.value.cause
    assert load_descriptor("cpu").name == "cpu"


def test_a_broken_file_is_listed_and_stops_nobody_else(folder: Path) -> None:
    (folder / "a.toml").write_text("nonsense")
    (folder / "b.toml").write_text(LOCAL)
    assert load_descriptor("board").kind == "local"
    assert isinstance(listed("a").descriptor, UsageError)
    with pytest.raises(UsageError, match="is not TOML"):
        load_descriptor("a")
    with pytest.raises(UnknownName, match=r"not readable: .*a\.toml"):
        load_descriptor("something-else")


def test_a_path_is_read_and_its_library_is_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    path.write_text(LOCAL + '[runtime]\nlibrary = "libs/libonnxruntime.so"\n')
    assert load_descriptor(str(path)).runtime.library == str(tmp_path / "libs/libonnxruntime.so")
    path.write_text(LOCAL + '[runtime]\nlibrary = "/opt/x.so"\n')
    assert load_descriptor(str(path)).runtime.library == "/opt/x.so"


@pytest.mark.parametrize("content", [None, b"\xff\xfe", b"#" * 70_000])
def test_files_that_cannot_be_read(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "own.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UsageError, match=r"own\.toml"):
        load_descriptor(str(path))


def test_a_folder_is_no_descriptor(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no file"):
        (tmp_path / "x.toml").mkdir()
        load_descriptor(str(tmp_path / "x.toml"))


def test_the_example_in_the_documents_is_valid_and_names_every_key() -> None:
    page = (Path(__file__).parents[2] / "docs" / "targets.md").read_text()
    [example] = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    found = parse(example)
    for name in ("device", "measure", "policy", "limits", "sensors"):
        section = getattr(found, name)
        assert section.model_fields_set == set(type(section).model_fields), name
    # Those that go with the native agent are told in the text.
    told = {"library", "program"}
    assert found.runtime.model_fields_set == set(type(found.runtime).model_fields) - told
    assert all(f"`{key}" in page for key in told)


KEYS = st.sampled_from(
    ["schema_version", "name", "kind", "transport", "measure", "host", "port", "work", "threads"]
) | st.text(max_size=8)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=200))
def test_any_text_is_a_descriptor_or_one_clear_error(text: str) -> None:
    try:
        parse(text)
    except HwnasError as error:
        assert "\n" not in error.cause
        assert error.fix


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(["host", "jump", "identity", "user", "work", "serial", "port"]),
    st.text(max_size=40) | st.text("ab/~.-@:[]%$ ;", max_size=12),
)
def test_what_is_accepted_can_be_no_option_and_leaves_no_folder(key: str, value: str) -> None:
    quoted = "".join(f"\\U{ord(c):08x}" for c in value if not 0xD800 <= ord(c) < 0xE000)
    kind = "adb" if key == "serial" else "ssh"
    host = "" if key in ("host", "serial") else 'host = "board"\n'
    text = HEAD + f'kind = "{kind}"\n[transport]\n{host}{key} = "{quoted}"\n'
    try:
        found = parse(text).transport
    except HwnasError as error:
        assert "\n" not in error.cause
        return
    for field in ("host", "jump", "identity", "user", "work", "serial"):
        got = getattr(found, field)
        assert not got.startswith("-")
        assert not re.search(r"[\x00-\x1f\x7f]", got)
        assert ".." not in got.split("/") or field == "identity"
    assert re.fullmatch(r"(~|/)[A-Za-z0-9_.+@/-]+", found.work)


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(KEYS, VALUES, max_size=6))
def test_any_document_is_a_descriptor_or_one_clear_error(values: dict[str, Any]) -> None:
    from hwnas.profile import descriptor as module

    try:
        module._validate({"schema_version": 1, "name": "x", "kind": "local"} | values, "x.toml")
    except HwnasError as error:
        assert "\n" not in error.cause
        assert error.fix

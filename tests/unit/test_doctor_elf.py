"""What a library needs, read from real libraries."""

from __future__ import annotations

import re
import shutil
import subprocess
import zipfile
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwnas.doctor.elf import library_needs
from hwnas.doctor.examine import judge
from hwnas.doctor.facts import Facts
from hwnas.errors import UsageError
from hwnas.profile.descriptor import parse_descriptor

FACTS = Facts(architecture="x86_64", libc=("glibc", (2, 36)), work="/", work_free=10**10)


@pytest.fixture(scope="module")
def library() -> Path:
    """The C library of the installed ONNX Runtime."""
    spec = find_spec("onnxruntime")
    assert spec is not None
    assert spec.origin is not None
    found = sorted(Path(spec.origin).parent.glob("capi/libonnxruntime.so*"))
    if not found:
        pytest.skip("the installed onnxruntime has no libonnxruntime.so")
    return found[0]


def judged(library: Path, facts: Facts, folder: Path) -> tuple[str, str]:
    """Level and text of what is found about ``library``."""
    text = f'schema_version = 1\nname = "b"\nkind = "local"\n[runtime]\nlibrary = "{library}"\n'
    found = [
        finding
        for finding in judge(facts, parse_descriptor(text, "b.toml", folder))
        if library.name.split(".")[0] in finding.what
    ]
    assert len(found) == 1
    return found[0].level, found[0].what


def test_needs_are_what_readelf_says(library: Path) -> None:
    if shutil.which("readelf") is None:
        pytest.skip("this machine has no readelf")
    shown = subprocess.run(
        ["readelf", "--version-info", "--wide", library], capture_output=True, text=True, check=True
    ).stdout
    versions = [
        tuple(map(int, version.split(".")))
        for version in re.findall(r"Name: GLIBC_([0-9.]+)\b", shown)
    ]
    assert library_needs(library).glibc == max(versions)


def test_a_device_with_an_older_glibc_is_told_so(library: Path, tmp_path: Path) -> None:
    needs = library_needs(library)
    facts = replace(FACTS, architecture=needs.architecture)
    version = ".".join(map(str, needs.glibc))
    assert judged(library, facts, tmp_path)[0] == "ok"
    older = replace(facts, libc=("glibc", (2, needs.glibc[1] - 1)))
    level, what = judged(library, older, tmp_path)
    assert level == "bad"
    assert f"needs glibc {version}" in what
    assert judged(library, replace(facts, libc=("musl", (1, 2, 4))), tmp_path)[0] == "bad"
    assert judged(library, replace(facts, libc=("bionic", (14,))), tmp_path)[0] == "bad"
    assert judged(library, replace(facts, libc=None), tmp_path)[0] == "unknown"
    level, what = judged(library, replace(facts, architecture="riscv64"), tmp_path)
    assert level == "bad"
    assert "the device is riscv64" in what


def test_a_native_agent_needs_glibc_unless_it_is_an_own_build(
    library: Path, tmp_path: Path
) -> None:
    facts = replace(FACTS, architecture=library_needs(library).architecture, libc=("musl", (1, 2)))
    text = (
        'schema_version = 1\nname = "b"\nkind = "adb"\n[runtime]\nagent = "native"\n'
        f'library = "{library}"\n'
    )
    for more, there in (("", True), ('program = "agent"\n', False)):
        found = judge(facts, parse_descriptor(text + more, "b.toml", tmp_path))
        said = [finding.what for finding in found if "cannot start there" in finding.why]
        assert bool(said) == there


def test_a_wheel_is_looked_into_and_its_tag_is_not_believed(library: Path, tmp_path: Path) -> None:
    wheel = tmp_path / "onnxruntime-1.0-cp311-cp311-manylinux_2_5_x86_64.whl"
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.write(library, f"onnxruntime/capi/{library.name}")
        archive.writestr("onnxruntime/capi/libonnxruntime_providers_shared.so", b"\x7fELF")
    inside, alone = library_needs(wheel), library_needs(library)
    assert (inside.glibc, inside.architecture) == (alone.glibc, alone.architecture)


def test_a_wheel_without_the_library(tmp_path: Path) -> None:
    wheel = tmp_path / "numpy.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("numpy/core.so", b"\x7fELF")
    with pytest.raises(UsageError, match=r"holds 0 files libonnxruntime\.so"):
        library_needs(wheel)


@pytest.mark.parametrize("content", [b"", b"\x7fELF", b"MZ and more", b"PK\x03\x04"])
@pytest.mark.parametrize("name", ["x.so", "x.whl"])
def test_what_is_no_library(tmp_path: Path, name: str, content: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(UsageError, match=r"x\.(so is no shared library|whl cannot be read)"):
        library_needs(path)


def test_what_is_not_there(tmp_path: Path) -> None:
    for name in ("x.so", "x.whl"):
        with pytest.raises(UsageError, match=r"cannot be read: .*No such file"):
            library_needs(tmp_path / name)


@pytest.fixture(scope="module")
def small_library() -> bytes:
    spec = find_spec("numpy")
    assert spec is not None
    assert spec.origin is not None
    libraries = Path(spec.origin).parent.rglob("*.so")
    return min(libraries, key=lambda path: path.stat().st_size).read_bytes()


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_a_damaged_library_is_read_or_one_clear_error(
    small_library: bytes, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    raw = bytearray(small_library)
    ends = st.integers(0, 4095) | st.integers(len(raw) - 4096, len(raw) - 1)
    for _ in range(data.draw(st.integers(1, 20))):
        raw[data.draw(ends | st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / "damaged.so"
    path.write_bytes(raw[: data.draw(st.just(len(raw)) | st.integers(0, len(raw)))])
    try:
        library_needs(path)
    except UsageError as error:
        assert "\n" not in error.cause

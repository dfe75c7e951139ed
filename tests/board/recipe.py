"""What the emulated board is made of, made once and kept in the user's cache.

Nothing is installed on the machine: host tools are Debian packages that are unpacked into the
cache, over apt state of their own, and the two root file systems are made by mmdebstrap:

    tools/   qemu-aarch64 (static, of Debian trixie), adb, mmdebstrap and what they need
    board/   bookworm for arm64 with sshd, Python 3.11, NumPy and ONNX Runtime
    phone/   trixie for arm64 with adbd and a shell; no Python

The folder is named by a hash of this file and of the wheels' versions, and appears whole or not
at all.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

__all__ = ["QEMU", "ROOT", "WHEELS", "Unavailable", "cache_folder", "missing", "prepare"]

ROOT = Path(__file__).resolve().parents[2]
QEMU = "usr/bin/qemu-aarch64"
"""Of the folder with tools."""
WHEELS = ("numpy", "onnxruntime")
_FALLBACK_MIRROR = "http://deb.debian.org/debian"
_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
# QEMU 7.2, of bookworm, crashes where ONNX Runtime reads the machine's own /proc/cpuinfo.
_QEMU_SUITE = "trixie"
_TOOLS = ("adb", "iproute2", "mmdebstrap", "openssh-client")
_BOARD_PACKAGES = (
    "base-files,bash,coreutils,dash,findutils,gawk,grep,hostname,libc-bin,libstdc++6,"
    "openssh-server,procps,python3,sed,tar,util-linux"
)
_PHONE_PACKAGES = "adbd,base-files,coreutils,dash,findutils,gawk,grep,libc-bin,sed,tar,util-linux"
_PLATFORMS = ("manylinux_2_28_aarch64", "manylinux_2_27_aarch64", "manylinux2014_aarch64")
_ACCOUNTS = """\
root:x:0:0:root:/root:/bin/sh
sshd:x:100:65534:sshd:/run/sshd:/usr/sbin/nologin
nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin
pi:x:1000:1000::/home/pi:/bin/sh
"""
_GROUPS = "root:x:0:\ntty:x:5:\nnogroup:x:65534:\npi:x:1000:\n"


class Unavailable(Exception):
    """What the board needs cannot be had here; the text says why."""


def missing() -> str:
    """Why no board can run on this machine; empty if nothing speaks against it."""
    release = Path("/etc/os-release")
    if sys.platform != "linux" or not re.search(r"^ID=debian$", _text(release), re.MULTILINE):
        return "it is made of Debian's packages, and this machine is not Debian"
    if os.geteuid() != 0:
        return "it needs root, for name spaces, mounts and binfmt_misc"
    for command in ("apt-get", "dpkg-deb", "nsenter", "perl", "setpriv", "unshare"):
        if shutil.which(command) is None:
            return f"there is no {command} here"
    if not Path("/dev/net/tun").is_char_device():
        return "there is no /dev/net/tun, which carries the board's link"
    kinds = _text(Path("/proc/filesystems")).split()
    for kind in ("binfmt_misc", "overlay"):
        if kind not in kinds:
            return f"this kernel has no {kind} (if it is a module: modprobe {kind})"
    probe = ["unshare", "--mount", "--net", "--pid", "--uts", "--fork", "true"]
    if subprocess.run(probe, capture_output=True).returncode != 0:
        return "name spaces may not be made here"
    return ""


def cache_folder() -> Path:
    """Where a user's caches are."""
    given = os.environ.get("XDG_CACHE_HOME")
    return (Path(given) if given else Path.home() / ".cache").resolve()


def prepare() -> Path:
    """The folder with ``tools``, ``board`` and ``phone``; made if it is not in the cache.

    Raises:
        Unavailable: A package or a wheel could not be had.
    """
    versions = _versions()
    home = cache_folder() / "hwnas" / "board"
    home.mkdir(parents=True, exist_ok=True)
    recipe = Path(__file__).read_bytes() + repr(sorted(versions.items())).encode()
    made = home / hashlib.sha256(recipe).hexdigest()[:16]
    # Held until this process ends: while one uses what is there, no other removes it.
    lock = os.open(home / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(lock, fcntl.LOCK_SH)
    if made.is_dir():
        return made
    fcntl.flock(lock, fcntl.LOCK_EX)
    if not made.is_dir():
        begun = time.monotonic()
        for other in home.iterdir():  # of older recipes, or cut off
            if other.is_dir():
                shutil.rmtree(other)
        work = Path(tempfile.mkdtemp(prefix=".", dir=home))
        try:
            _make(work, versions)
            work.chmod(0o755)
            work.rename(made)
        finally:
            shutil.rmtree(work, ignore_errors=True)
        print(f"board: made in {time.monotonic() - begun:.0f} s: {made}", flush=True)
    fcntl.flock(lock, fcntl.LOCK_SH)
    return made


def _make(work: Path, versions: dict[str, str]) -> None:
    codename = _match(r"^VERSION_CODENAME=(\w+)$", _text(Path("/etc/os-release")))
    mirror = _mirror(codename)
    tools = work / "tools"
    tools.mkdir()
    print(f"board: unpacking {', '.join(_TOOLS)} and qemu-user of {mirror}", flush=True)
    print(f"board: Debian bookworm for arm64 with {_BOARD_PACKAGES}", flush=True)
    print(f"board: wheels: {', '.join(f'{n} {v}' for n, v in versions.items())}", flush=True)
    print(f"board: phone: Debian trixie for arm64 with {_PHONE_PACKAGES}", flush=True)
    apt = _get_tools(work / "apt", tools, mirror, codename)
    site = work / "board/usr/local/lib/python3.11/dist-packages"
    with ThreadPoolExecutor(3) as pool:
        parts = [
            pool.submit(_get_root, tools, work / "board", mirror, "bookworm", _BOARD_PACKAGES),
            pool.submit(_get_root, tools, work / "phone", mirror, "trixie", _PHONE_PACKAGES),
            pool.submit(_get_qemu, apt, work / "apt/qemu", tools),
        ]
        _get_wheels(work / "wheels", versions)
        for part in parts:
            part.result()
    site.mkdir(parents=True)
    for wheel in (work / "wheels").glob("*.whl"):
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(site)
    shutil.rmtree(work / "apt")


def _get_tools(apt: Path, tools: Path, mirror: str, codename: str) -> list[str]:
    """Unpack the tools; returns apt's command line, over its own state."""
    for folder in ("lists/partial", "archives/partial", "parts", "qemu"):
        (apt / folder).mkdir(parents=True)
    option = f"[signed-by={_KEYRING}] " if _KEYRING.is_file() else ""
    suites = dict.fromkeys((codename, _QEMU_SUITE))
    lines = "".join(f"deb {option}{mirror} {suite} main\n" for suite in suites)
    (apt / "sources.list").write_text(lines)
    command = ["apt-get", "-qq", "-o", f"Dir::State::lists={apt}/lists", "-o", f"Dir::Cache={apt}"]
    command += ["-o", f"Dir::Cache::archives={apt}/archives", "-o", "Acquire::Languages=none"]
    command += ["-o", f"Dir::Etc::sourcelist={apt}/sources.list", "-o", "Acquire::Retries=2"]
    command += ["-o", f"Dir::Etc::sourceparts={apt}/parts", "-o", "APT::Sandbox::User=root"]
    command += ["-o", f"APT::Default-Release={codename}", "-o", "Debug::NoLocking=true"]
    command += ["-o", "APT::Update::Error-Mode=any", "-o", "Acquire::http::Timeout=30"]
    _run([*command, "update"])
    # Only what this machine does not have is downloaded; nothing is installed.
    _run([*command, "install", "-y", "--no-install-recommends", "--download-only", *_TOOLS])
    for package in (apt / "archives").glob("*.deb"):
        _run(["dpkg-deb", "-x", str(package), str(tools)])
    libraries = sorted({str(path.parent) for path in tools.rglob("*.so.*")})
    (tools / "bin").mkdir()
    for folder in ("usr/bin", "usr/sbin", "bin", "sbin"):
        for program in sorted((tools / folder).glob("*")):
            if program.parent != tools / "bin" and program.is_file():
                _write_wrapper(tools / "bin" / program.name, program.resolve(), libraries)
    return command


def _get_qemu(apt: list[str], folder: Path, tools: Path) -> None:
    _run([*apt, "download", f"qemu-user/{_QEMU_SUITE}"], cwd=folder)
    package = next(folder.glob("*.deb"))
    # The package holds some thirty more; tar ends after the one that is asked for.
    extract = 'dpkg-deb --fsys-tarfile "$1" | tar -x -C "$2" --occurrence=1 "$3"'
    _run(["sh", "-c", extract, "sh", str(package), str(tools), f"./{QEMU}"])


def _write_wrapper(path: Path, program: Path, libraries: list[str]) -> None:
    # Written so that the folder can be renamed: a wrapper knows where it lies itself.
    tools = path.parents[1]
    found = ":".join(f"$t/{Path(folder).relative_to(tools)}" for folder in libraries)
    lines = ["#!/bin/sh", 't=$(dirname "$(dirname "$(readlink -f "$0")")")']
    lines += [f'LD_LIBRARY_PATH="{found}" exec "$t/{program.relative_to(tools)}" "$@"', ""]
    path.write_text("\n".join(lines))
    path.chmod(0o755)


def _get_root(tools: Path, root: Path, mirror: str, suite: str, packages: str) -> None:
    path = f"{tools}/bin:{os.environ['PATH']}"
    command = ["mmdebstrap", "--quiet", "--arch=arm64", "--variant=extract", "--skip=check/qemu"]
    command += [f"--include={packages}", suite, str(root), mirror]
    _run(command, env=os.environ | {"PATH": path})
    # No package's script has run: what they would have made is made here.
    (root / "etc/passwd").write_text(_ACCOUNTS)
    (root / "etc/group").write_text(_GROUPS)
    (root / "usr/bin/awk").symlink_to("gawk")
    for folder in ("dev", "home/pi", "proc", "root", "run", "sys", "tmp"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for name in ("bin", "lib", "sbin"):  # where /usr is merged, its package's script links them
        if not (root / name).exists():
            (root / name).symlink_to(f"usr/{name}")
    # No package is ever installed there.
    shutil.rmtree(root / "usr/share/doc", ignore_errors=True)
    shutil.rmtree(root / "var/lib/dpkg", ignore_errors=True)


def _get_wheels(folder: Path, versions: dict[str, str]) -> None:
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--dest", str(folder)]
    command += ["--only-binary=:all:", "--python-version=3.11", "--implementation=cp"]
    command += [f"--platform={platform}" for platform in _PLATFORMS]
    _run([*command, *(f"{name}=={version}" for name, version in versions.items())])


def _versions() -> dict[str, str]:
    pinned = _text(ROOT / "constraints.txt")
    return {name: _match(rf"^{name}==(\S+)$", pinned) for name in WHEELS}


def _mirror(codename: str) -> str:
    listing = ["apt-get", "indextargets", "--format", "$(RELEASE) $(REPO_URI)"]
    output = _run([*listing, "Created-By: Packages"])
    found = re.findall(rf"^{codename} (https?://\S+/debian)/?$", output, re.MULTILINE)
    return found[0] if found else _FALLBACK_MIRROR


def _match(pattern: str, text: str) -> str:
    found = re.search(pattern, text, re.MULTILINE)
    if found is None:
        raise Unavailable(f"no line {pattern!r} where one was expected")
    return found[1]


def _text(path: Path) -> str:
    return path.read_text() if path.is_file() else ""


def _run(command: list[str], env: dict[str, str] | None = None, cwd: Path | None = None) -> str:
    done = subprocess.run(command, capture_output=True, text=True, env=env, cwd=cwd)
    if done.returncode != 0:
        lines = [line for line in done.stderr.splitlines() if line.strip()] or ["no reason given"]
        errors = [line for line in lines if re.match(r"(E:|ERROR:)", line)] or lines[-1:]
        raise Unavailable(f"{command[0]} failed: {errors[0].strip()}")
    return done.stdout

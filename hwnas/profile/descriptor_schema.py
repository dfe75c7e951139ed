"""What a target descriptor may say: its sections, keys and values, and nothing that finds files.

    schema_version = 1
    name = "pi4"
    kind = "ssh"                   # the plug-in that reaches it: local, ssh, adb
    [transport]
    host = "pi@raspberrypi.local"
    [measure]
    threads = 1

Each field's ``description`` says what is allowed, for messages. What is written here ends up in
command lines on two machines, so that every value is held to a narrow form, whoever wrote it.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated, Any, Final, Literal

from pydantic import Field, StringConstraints, model_validator

from hwnas.frozen import Frozen

__all__ = [
    "SCHEMA_VERSION",
    "Descriptor",
    "Device",
    "Limits",
    "Measure",
    "Policy",
    "RuntimeWanted",
    "SensorName",
    "Sensors",
    "TransportArguments",
]

SCHEMA_VERSION: Final = 1

_WORK: Final = {"adb": "/data/local/tmp/hwnas"}
_WORK_ELSEWHERE: Final = "~/.cache/hwnas"
_ARGUMENTS: Final = {
    "local": {"work"},
    "ssh": {"host", "port", "user", "jump", "identity", "work"},
    "adb": {"serial", "work"},
}
_USER: Final = r"[A-Za-z0-9_][A-Za-z0-9_.+-]{0,63}"
_HOST: Final = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,252}"
_FOLDER: Final = r"[A-Za-z0-9_.+@][A-Za-z0-9_.+@-]*"

_Flag = Annotated[bool, Field(strict=True, description="true or false")]
_Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]


class TransportArguments(Frozen):
    """How the target is reached.

    Attributes:
        host: name, address or alias of the user's own ssh configuration; ``user@host`` and
            ``[address]`` are taken apart when they are read.
        port, user, jump, identity: of ssh; what is not given is left to ssh's configuration.
        serial: as ``adb devices`` lists it; empty for the only one that is connected.
        work: folder on the target for jobs and blobs; filled in by kind where it is not given.
    """

    host: str = Field(default="", description="a host, as in pi@raspberrypi.local")
    port: int | None = Field(
        default=None, strict=True, ge=1, le=65535, description="a number from 1 to 65535"
    )
    user: str = Field(
        default="",
        pattern=rf"^({_USER})?$",
        description="a user's name of letters, digits and _ . + -",
    )
    jump: str = Field(default="", description="hosts, as in user@gateway:2222, several with commas")
    identity: str = Field(
        default="",
        pattern=r"^([^-\x00-\x1f\x7f][^\x00-\x1f\x7f]{0,1000})?$",
        description="the path of a private key, as in ~/.ssh/id_ed25519",
    )
    serial: str = Field(
        default="",
        pattern=r"^([A-Za-z0-9\[][A-Za-z0-9\[\]._:-]{0,127})?$",
        description="a serial number as `adb devices` prints it",
    )
    work: str = Field(
        default="",
        pattern=rf"^((~|/{_FOLDER})(/{_FOLDER})*)?$",
        max_length=400,
        description="a folder, as in ~/.cache/hwnas or /data/hwnas, of letters, digits and "
        "_ . + @ -, without ..",
    )

    @model_validator(mode="before")
    @classmethod
    def _take_apart(cls, values: object) -> object:
        if not isinstance(values, dict) or not isinstance(values.get("host"), str):
            return values
        user, at, host = values["host"].rpartition("@")
        if at:
            if not user or values.get("user", user) != user:
                raise ValueError(f"host is {values['host'][:80]!a}, user {values.get('user')!a}")
            values = {**values, "user": user}
        if host.startswith("[") and host.endswith("]") and ":" in host:
            host = host[1:-1]
        return {**values, "host": host}

    @model_validator(mode="after")
    def _check(self) -> TransportArguments:
        if self.host and not _is_host(self.host):
            raise ValueError(f"host is {self.host[:80]!a}")
        if self.jump and not all(map(_is_hop, self.jump.split(","))):
            raise ValueError(f"jump is {self.jump[:80]!a}")
        if {".", ".."} & set(self.work.split("/")) or self.work == "~":
            raise ValueError(f"work is {self.work[:80]!a}")
        return self


class Device(Frozen):
    """What the target is; empty fields are found out by asking it.

    Attributes:
        architecture: as ``uname -m`` says it.
        libc: the C library and its version, to choose a native agent by.
    """

    architecture: str = Field(
        default="",
        pattern=r"^([a-z][a-z0-9_]{0,31})?$",
        description="what `uname -m` prints there, as in aarch64",
    )
    libc: str = Field(
        default="",
        pattern=r"^((glibc|musl|bionic) [0-9]{1,4}(\.[0-9]{1,4}){0,3})?$",
        description="glibc, musl or bionic and its version, as in glibc 2.36",
    )


class RuntimeWanted(Frozen):
    """What runs the models there, and what runs the runtime.

    Attributes:
        agent: ``python`` needs Python, NumPy and the runtime's package there; ``native`` nothing.
        python: command of that Python.
        name: of the profiler.
        version: that the runtime must have; empty for any.
        library: file on this machine, uploaded for the native agent: ``libonnxruntime.so`` or a
            wheel that holds it. Read from a file, it is relative to the file's folder.
        program: the native agent of an own build, likewise; empty for the one that hwnas builds,
            which needs glibc.
        provider: execution provider; empty for the profiler's default.
        precision: what outputs are held to; a runtime that silently computes in less is caught.
    """

    agent: Literal["python", "native"] = Field(default="python", description="python or native")
    python: str = Field(
        default="python3",
        pattern=r"^(~/)?[A-Za-z0-9_/.][A-Za-z0-9_/.+-]{0,200}$",
        description="a command or a path, as in python3 or /opt/py/bin/python",
    )
    name: _Name = Field(
        default="onnxruntime", description="the name of a profiler, as in onnxruntime"
    )
    version: str = Field(
        default="",
        pattern=r"^([0-9][0-9A-Za-z.+!-]{0,31})?$",
        description="a version, as in 1.32.0",
    )
    library: str = Field(
        default="",
        pattern=r"^([^\x00-\x1f\x7f]{1,1000}\.(so(\.[0-9]{1,9}){0,3}|whl))?$",
        description="the path of a .so or .whl file on this machine",
    )
    program: str = Field(
        default="",
        pattern=r"^[^\x00-\x1f\x7f]{0,1000}$",
        description="the path of an own build of the native agent on this machine",
    )
    provider: str = Field(
        default="",
        pattern=r"^[A-Za-z0-9_]{0,64}$",
        description="an execution provider, as in CPUExecutionProvider",
    )
    precision: Literal["float32"] = Field(default="float32", description="float32")


class Measure(Frozen):
    """Settings of measuring that differ there."""

    threads: int = Field(
        default=1, strict=True, ge=1, le=1024, description="a number from 1 to 1024"
    )
    affinity: tuple[Annotated[int, Field(strict=True, ge=0, le=4095)], ...] | None = Field(
        default=None, min_length=1, max_length=1024, description="numbers of cores, as in [2, 3]"
    )
    cooldown_s: float = Field(
        default=0.0, strict=True, ge=0, le=3600, description="seconds from 0 to 3600"
    )
    time_limit_s: float = Field(
        default=120.0, strict=True, gt=0, le=86400, description="seconds, more than 0, up to 86400"
    )
    energy: _Flag = False


class Policy(Frozen):
    """What is done about the frequency governors: ``record`` them, ``require`` one, ``set`` it.

    What was set is put back when measuring ends, however it ends.
    """

    governor: Literal["record", "require", "set"] = Field(
        default="record", description="record, require or set"
    )
    governor_name: str = Field(
        default="performance",
        pattern=r"^[a-z][a-z0-9_]{0,31}$",
        description="a governor, as in performance",
    )


class Limits(Frozen):
    """Bounds that measuring keeps to, in degrees Celsius."""

    max_temperature_c: float | None = Field(
        default=None, strict=True, ge=20, le=150, description="degrees from 20 to 150"
    )


SensorName = Literal["cpufreq", "thermal", "rapl", "ina3221", "rpi", "dumpsys"]


class Sensors(Frozen):
    """Sensors to read; ``None`` for all that are there."""

    names: tuple[SensorName, ...] | None = Field(
        default=None, description="names out of cpufreq, thermal, rapl, ina3221, rpi, dumpsys"
    )


class Descriptor(Frozen):
    """One target; see the module.

    Attributes:
        name: what ``--target`` calls it.
        kind: entry point of the group ``hwnas.targets`` that reaches it.
        emulated: its latency is no device's; it may be tested, and none is put into a table.
    """

    schema_version: Literal[1] = Field(description="1")
    name: _Name = Field(description="small letters, digits and . _ -, the first no sign")
    kind: _Name = Field(description="what reaches it: local, ssh, adb or another plug-in")
    emulated: _Flag = False
    transport: TransportArguments = TransportArguments()
    device: Device = Device()
    runtime: RuntimeWanted = RuntimeWanted()
    measure: Measure = Measure()
    policy: Policy = Policy()
    limits: Limits = Limits()
    sensors: Sensors = Sensors()

    @model_validator(mode="before")
    @classmethod
    def _default_work(cls, values: object) -> object:
        if not isinstance(values, dict):
            return values
        transport = values.get("transport", {})
        if not isinstance(transport, dict) or transport.get("work"):
            return values
        work = _WORK.get(str(values.get("kind")), _WORK_ELSEWHERE)
        return {**values, "transport": {**transport, "work": work}}

    @model_validator(mode="after")
    def _check_transport(self) -> Descriptor:
        allowed = _ARGUMENTS.get(self.kind)
        given = {key for key in self.transport.model_fields_set if getattr(self.transport, key)}
        if allowed is not None and given - allowed:
            raise ValueError(
                f"[transport] has {', '.join(sorted(given - allowed))}, which kind = "
                f'"{self.kind}" does not take (it takes {", ".join(sorted(allowed))})'
            )
        if self.kind == "ssh" and not self.transport.host:
            raise ValueError('[transport] has no host, which kind = "ssh" needs')
        return self

    def overrides(self) -> dict[str, Any]:
        """The fields of measuring's settings that were given here, for ``dataclasses.replace``."""
        found = {name: getattr(self.measure, name) for name in self.measure.model_fields_set}
        if self.runtime.provider:
            found["provider"] = self.runtime.provider
        return found


def _is_host(text: str) -> bool:
    if re.fullmatch(_HOST, text):
        return True
    try:
        return re.fullmatch(r"[0-9A-Za-z_:.%]+", text) is not None and bool(
            ipaddress.ip_address(text)
        )
    except ValueError:
        return False


def _is_hop(text: str) -> bool:
    hop = re.fullmatch(rf"(?:{_USER}@)?({_HOST}|\[[0-9A-Fa-f:.]+\])(?::([0-9]{{1,5}}))?", text)
    return (
        hop is not None
        and _is_host(hop[1].strip("[]"))
        and (hop[2] is None or 1 <= int(hop[2]) <= 65535)
    )

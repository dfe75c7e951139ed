"""A job: the document that says what to measure, and the folder where it lies on a device.

    JOB/job.json        the document; its SHA-256 is the job's id
    JOB/data/NAME       files that the models name (weights)
    JOB/journal.jsonl   what the agent says, see ``events``
    BLOBS/SHA256        models, by content

The document is untrusted, as are the files: all are checked before anything is measured.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hwnas.agent.expected import Expected
from hwnas.agent.protocol import Job, Scope, Tensor
from hwnas.agent.settings import Settings
from hwnas.errors import HwnasError, ProfileError
from hwnas.files import sha256_file

__all__ = ["FILE_NAME", "SCHEMA_VERSION", "Document", "Item", "StoredFile", "verify"]

SCHEMA_VERSION = 1

FILE_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,254}")
"""Of the files that models name: within the folder, and not hidden."""

_LONGEST = 512
"""UTF-8 bytes of a text, as an agent in C counts."""

_LONGEST_LABEL = 65_536
"""A subnet's label is all of its choices."""

_MOST_ITEMS = 65_536
_MOST_ELEMENTS = 1 << 36
_LARGEST_MODEL = 1 << 31
_LARGEST_NUMBER = 1e300
_DTYPES = frozenset(
    ["bool", "float16", "float32", "float64"]
    + [f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)]
)


@dataclass(frozen=True)
class StoredFile:
    """A file by its content."""

    sha256: str
    bytes: int


@dataclass(frozen=True)
class Item:
    """One thing to measure; see ``protocol.Job``. ``expected`` may be empty: not checked."""

    key: str
    scope: Scope
    label: str
    model: StoredFile
    inputs: tuple[Tensor, ...]
    expected: tuple[Expected, ...]

    def job(self, blobs: Path, data: Path) -> Job:
        """As what a profiler takes."""
        model = (blobs / self.model.sha256).read_bytes()
        return Job(self.key, self.scope, self.label, model, data, self.inputs)


@dataclass(frozen=True)
class Document:
    """What to measure, how, and from which files.

    Attributes:
        hwnas: version that wrote it.
        emulated: the device is; what it measures tells nothing of time.
        profiler: name of the profiler.
        settings: how to measure.
        data: files that models name, by that name.
        items: in the order in which they are measured.
    """

    hwnas: str
    emulated: bool
    profiler: str
    settings: Settings
    data: Mapping[str, StoredFile]
    items: tuple[Item, ...]

    def encode(self) -> bytes:
        """The exact bytes of ``job.json``; their SHA-256 is the job's id."""
        values = {"schema_version": SCHEMA_VERSION, **asdict(self)}
        values["settings"] = self.settings.to_dict()
        return json.dumps(values, separators=(",", ":"), allow_nan=False).encode()

    @classmethod
    def decode(cls, data: bytes) -> Document:
        """Read ``job.json``.

        Raises:
            ProfileError: it is not a job, or of another schema; says where.
        """
        try:
            values = json.loads(data)
            version = values.get("schema_version") if isinstance(values, dict) else None
            if isinstance(version, int) and version > SCHEMA_VERSION:
                raise ProfileError(
                    f"the job has schema_version {version}, this agent reads up to "
                    f"{SCHEMA_VERSION}",
                    "install the same hwnas on both sides",
                )
            return _document(values)
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            what = f"no {error}" if isinstance(error, KeyError) else error
            raise ProfileError(f"job.json is not a job: {what}", "pack the job again") from error
        except HwnasError as error:
            if isinstance(error, ProfileError):
                raise
            raise ProfileError(
                f"job.json is not a job: {error.cause}", "pack the job again"
            ) from error


def _document(values: Any) -> Document:
    found = _object(values, "schema_version hwnas emulated profiler settings data items")
    if found["schema_version"] != SCHEMA_VERSION:
        raise ValueError(f"schema_version is {found['schema_version']!r}")
    if not isinstance(found["emulated"], bool):
        raise ValueError("emulated is neither true nor false")
    items = _list(found["items"], _MOST_ITEMS)
    if not isinstance(found["data"], dict):
        raise ValueError("data is not an object")
    return Document(
        hwnas=_text(found["hwnas"]),
        emulated=found["emulated"],
        profiler=_text(found["profiler"]),
        settings=Settings.from_dict(found["settings"]),
        data={_file_name(name): _stored(one) for name, one in found["data"].items()},
        items=tuple(_item(one) for one in items),
    )


def _item(values: Any) -> Item:
    found = _object(values, "key scope label model inputs expected")
    if found["scope"] not in ("block", "subnet"):
        raise ValueError(f"scope is {found['scope']!r}")
    model = _stored(found["model"])
    if model.bytes > _LARGEST_MODEL:
        raise ValueError(f"a model of {model.bytes} bytes")
    return Item(
        key=_text(found["key"]),
        scope=found["scope"],
        label=_text(found["label"], _LONGEST_LABEL),
        model=model,
        inputs=tuple(
            Tensor(**_tensor(_object(one, "name dtype shape"))) for one in _list(found["inputs"])
        ),
        expected=tuple(_expected(one) for one in _list(found["expected"])),
    )


def _expected(values: Any) -> Expected:
    found = _object(values, "name dtype shape step values mean rms tolerance")
    if not _is_count(found["step"]) or found["step"] == 0:
        raise ValueError(f"step is {found['step']!r}")
    if not isinstance(found["values"], str):
        raise ValueError("values are no text")
    for name in ("mean", "rms", "tolerance"):
        number = found[name]
        good = isinstance(number, (int, float)) and not isinstance(number, bool)
        if not good or not abs(number) < _LARGEST_NUMBER:
            raise ValueError(f"{name} is {number!r}")
    one = Expected(**{**found, **_tensor({k: found[k] for k in ("name", "dtype", "shape")})})
    one.samples()
    return one


def _tensor(found: dict[str, Any]) -> dict[str, Any]:
    if found["dtype"] not in _DTYPES:
        raise ValueError(f"dtype is {str(found['dtype'])[:40]!r}")
    shape, size = tuple(_list(found["shape"], 64)), 1
    for length in shape:
        if not _is_count(length):
            raise ValueError(f"a shape with {length!r}")
        size *= length
    if size > _MOST_ELEMENTS:
        raise ValueError(f"a tensor of {size} elements")
    return {"name": _text(found["name"]), "dtype": found["dtype"], "shape": shape}


def _stored(values: Any) -> StoredFile:
    found = _object(values, "sha256 bytes")
    if not isinstance(found["sha256"], str) or not re.fullmatch("[0-9a-f]{64}", found["sha256"]):
        raise ValueError(f"sha256 is {str(found['sha256'])[:80]!r}")
    if not _is_count(found["bytes"]):
        raise ValueError(f"bytes is {found['bytes']!r}")
    return StoredFile(found["sha256"], found["bytes"])


def _object(values: Any, keys: str) -> dict[str, Any]:
    known = keys.split()
    if not isinstance(values, dict):
        raise ValueError(f"not an object with {known[0]}")
    if set(values) != set(known):
        odd = sorted(set(values) ^ set(known))[0]
        raise ValueError(f"{'unknown' if odd in values else 'no'} {str(odd)[:40]!r}")
    return values


def _list(values: Any, most: int = 4096) -> list[Any]:
    if not isinstance(values, list) or len(values) > most:
        raise ValueError(f"not a list of at most {most}")
    return values


def _text(value: Any, longest: int = _LONGEST) -> str:
    # What is printable has no lone surrogates, so it can be encoded.
    good = isinstance(value, str) and value.isprintable() and len(value.encode()) <= longest
    if not good:
        raise ValueError(f"not a text: {str(value)[:40]!r}")
    return str(value)


def _file_name(value: str) -> str:
    if not FILE_NAME.fullmatch(value):
        raise ValueError(f"not a file name: {value[:40]!r}")
    return value


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 62


def verify(document: Document, blobs: Path, data: Path) -> None:
    """Compare every file of ``document`` with its hash.

    Raises:
        ProfileError: one is missing, cut off or altered.
    """
    files = {blobs / item.model.sha256: item.model for item in document.items}
    files.update({data / name: one for name, one in document.data.items()})
    for path, stored in files.items():
        try:
            same = path.stat().st_size == stored.bytes and sha256_file(path) == stored.sha256
        except OSError as error:
            raise ProfileError(
                f"{path.name} cannot be read: {error.strerror}", "send the job again"
            ) from error
        if not same:
            raise ProfileError(
                f"{path.name} is not what was sent: its size or SHA-256 differs",
                "send the job again; if this comes back, the storage is failing",
            )

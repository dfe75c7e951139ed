"""Target descriptors: read from TOML or from a URL, and found by name.

A name is looked for among the user's files first (``$HWNAS_TARGETS``, else ``hwnas/targets``
under ``$XDG_CONFIG_HOME`` or ``~/.config``), then among those that installed distributions bring:
an entry point of the group ``hwnas.descriptors`` names a package whose ``*.toml`` files they are.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel, ValidationError

from hwnas import plugins
from hwnas.errors import HwnasError, NewerSchema, UnknownName, UsageError
from hwnas.profile.descriptor_schema import SCHEMA_VERSION, Descriptor

__all__ = [
    "DESCRIPTORS",
    "Descriptor",
    "Listed",
    "expand",
    "list_descriptors",
    "load_descriptor",
    "parse_descriptor",
    "parse_url",
    "user_folder",
]

DESCRIPTORS: Final = "hwnas.descriptors"
"""Group of entry points that name packages with descriptors."""

_MOST_BYTES: Final = 65536
_URL_FORMS: Final = "ssh://[user@]host[:port][/folder] or adb://SERIAL"


@dataclass(frozen=True)
class Listed:
    """One descriptor that was found.

    Attributes:
        name: what it is called; the file's name where it cannot be read.
        origin: the file, or the distribution that brings it.
        descriptor: what it says, or why it cannot be read.
        hides: origins of others with this name, which are not used.
    """

    name: str
    origin: str
    descriptor: Descriptor | HwnasError
    hides: tuple[str, ...] = ()


def load_descriptor(target: str) -> Descriptor:
    """The descriptor that ``--target`` means: a name, a URL, or the path of a ``.toml`` file.

    Raises:
        UnknownName: no descriptor has that name; the known ones are listed.
        UsageError: it cannot be what it should be, or two files claim the name.
    """
    if "://" in target:
        return parse_url(target)
    if target.endswith(".toml"):
        return _read(Path(target))
    found = list_descriptors()
    for listed in found:
        if listed.name == target:
            if isinstance(listed.descriptor, HwnasError):
                raise listed.descriptor
            return listed.descriptor
    broken = [f"{listed.origin}" for listed in found if isinstance(listed.descriptor, HwnasError)]
    error = UnknownName("target", target, [listed.name for listed in found])
    also = f"; not readable: {', '.join(broken)}" if broken else ""
    error.fix += f"{also}; or give {_URL_FORMS}, or the path of a .toml file"
    raise error


def list_descriptors() -> list[Listed]:
    """All descriptors by name, those of the user's folder before those that are built in.

    One that cannot be read is listed with its error. Two of one name in one place are listed
    once, as an error that names both.
    """
    found: dict[str, Listed] = {}
    for place in (_user_files(), _built_in()):
        here: dict[str, Listed] = {}
        for listed in place:
            other = here.get(listed.name)
            here[listed.name] = listed if other is None else _twice(listed, other)
        for name, listed in here.items():
            if name in found:
                first = found[name]
                found[name] = Listed(name, first.origin, first.descriptor, (listed.origin,))
            else:
                found[name] = listed
    return [found[name] for name in sorted(found)]


def user_folder() -> Path:
    """Where the user's own descriptors are; begins with ``~`` where nobody knows the home folder.

    Raises:
        UsageError: ``HWNAS_TARGETS`` names a user that does not exist.
    """
    if given := os.environ.get("HWNAS_TARGETS"):
        return expand(given, "HWNAS_TARGETS")
    config = os.environ.get("XDG_CONFIG_HOME")
    try:
        folder = Path(config) if config else Path.home() / ".config"
    except RuntimeError:
        folder = Path("~/.config")
    return folder / "hwnas" / "targets"


def expand(path: str, source: str) -> Path:
    """``path`` with its ``~`` or ``~user`` replaced; ``source`` is what names it, for messages.

    Raises:
        UsageError: there is no such user, or no home folder.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise UsageError(
            f"{source} is {ascii(path)[:80]}, and there is no such home folder",
            "give the whole path, without ~",
        ) from None


def parse_descriptor(text: str, source: str, folder: Path | None = None) -> Descriptor:
    """Read a descriptor from TOML.

    Args:
        text: the document.
        source: where it is from, for messages.
        folder: that ``runtime.library`` and ``runtime.program`` are relative to.

    Raises:
        NewerSchema: written for a newer hwnas.
        UnknownName: a key that does not exist; the closest one is named.
        UsageError: no TOML, or a value that cannot be; says which key and what is allowed.
    """
    try:
        values = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UsageError(f"{source} is not TOML: {reason}", "mend the file there") from None
    version = values.get("schema_version")
    if type(version) is int and version > SCHEMA_VERSION:
        raise NewerSchema(source, version, SCHEMA_VERSION)
    found = _validate(values, source)
    runtime = found.runtime
    if found.transport.identity:
        expand(found.transport.identity, f"{source}: transport.identity")
    given = {"library": runtime.library, "program": runtime.program}
    if folder is None or not any(given.values()):
        return found
    paths = {
        key: str(folder / expand(path, f"{source}: runtime.{key}"))
        for key, path in given.items()
        if path
    }
    return found.model_copy(update={"runtime": runtime.model_copy(update=paths)})


def parse_url(url: str) -> Descriptor:
    """A descriptor from ``ssh://[user@]host[:port][/folder]`` or ``adb://SERIAL``.

    Raises:
        UsageError: it is none of these, or holds what a descriptor cannot.
    """
    scheme, _, rest = url.partition("://")
    parts = re.fullmatch(
        r"(?:([^@/]+)@)?(\[[^\]/]*:[^\]/]*\]|[^:/@]*)(?::([0-9]{1,5}))?(/.*)?", rest
    )
    if scheme == "adb":
        where, given = rest, {"serial": rest}
    elif scheme == "ssh" and parts is not None and ":" not in (parts[1] or ""):
        user, where, port, work = parts.groups(default="")
        work = work.rstrip("/")
        work = work[1:] if work.startswith("/~") else work
        given = {"host": where, "user": user, "port": port, "work": work}
    else:
        raise UsageError(
            f"{url[:200]!a} is not the address of a target",
            f"give {_URL_FORMS}; ssh uses your keys and agent, never a password",
        )
    name = re.sub(r"[^a-z0-9._-]+", "-", where.lower()).strip("._-")[:64] or "device"
    transport = {
        key: int(value) if key == "port" else value for key, value in given.items() if value
    }
    return _validate(
        {"schema_version": SCHEMA_VERSION, "name": name, "kind": scheme, "transport": transport},
        ascii(url[:200])[1:-1],
    )


def _user_files() -> Iterator[Listed]:
    folder = user_folder()
    for path in sorted(folder.glob("*.toml")) if folder.is_dir() else ():
        try:
            descriptor = _read(path)
        except HwnasError as error:
            yield Listed(path.stem, str(path), error)
        else:
            yield Listed(descriptor.name, str(path), descriptor)


def _built_in() -> Iterator[Listed]:
    for point, origin in plugins.names(DESCRIPTORS).items():
        place = f"built-in ({origin})"
        try:
            package = plugins.load(DESCRIPTORS, point)
            entries = sorted(resources.files(package).iterdir(), key=lambda entry: entry.name)
        except HwnasError as error:
            yield Listed(point, place, error)
            continue
        except Exception as error:  # what others have registered may raise anything
            yield Listed(point, place, _not_readable(f"{point} of {origin}", error))
            continue
        for entry in entries:
            if not entry.name.endswith(".toml"):
                continue
            source = f"{entry.name} of {origin}"
            try:
                text = entry.read_text(encoding="utf-8")
                descriptor = parse_descriptor(text, source)
            except HwnasError as error:
                yield Listed(entry.name.removesuffix(".toml"), place, error)
            except (OSError, UnicodeDecodeError) as error:
                failed = _not_readable(source, error)
                yield Listed(entry.name.removesuffix(".toml"), place, failed)
            else:
                yield Listed(descriptor.name, place, descriptor)


def _not_readable(source: str, error: Exception) -> UsageError:
    return UsageError(f"{source} cannot be read: {error}", "reinstall or uninstall what brings it")


def _twice(one: Listed, other: Listed) -> Listed:
    error = UsageError(
        f"two descriptors are called {one.name!r}: {other.origin} and {one.origin}",
        "rename one of them",
    )
    return Listed(one.name, f"{other.origin} and {one.origin}", error)


def _read(path: Path) -> Descriptor:
    try:
        if not path.is_file():
            raise UsageError(f"there is no file {path}", "see: hwnas devices")
        with path.open("rb") as stream:
            raw = stream.read(_MOST_BYTES + 1)
        if len(raw) > _MOST_BYTES:
            raise UsageError(f"{path} is larger than any descriptor", "name another file")
        text = raw.decode()
    except UnicodeDecodeError:
        raise UsageError(f"{path} is not text in UTF-8", "name another file") from None
    except OSError as error:
        raise UsageError(
            f"{path} cannot be read: {error.strerror or error}", "check its permissions"
        ) from error
    return parse_descriptor(text, str(path), path.resolve().parent)


def _validate(values: Mapping[str, Any], source: str) -> Descriptor:
    try:
        return Descriptor.model_validate(values)
    except ValidationError as error:
        # An unknown key comes first: the value that is missed is often the one misspelt.
        errors = error.errors(include_url=False)
        first = next((e for e in errors if e["type"] == "extra_forbidden"), errors[0])
    keys = [ascii(str(key))[1:-1][:80] for key in first["loc"]]
    section, allowed = _meaning(keys)
    dotted = ".".join(keys)
    if first["type"] == "extra_forbidden":
        place = f"{source} [{keys[0]}]" if len(keys) > 1 else source
        raise UnknownName(f"key in {place}:", keys[-1], list(section.model_fields))
    if first["type"] == "value_error":
        # Raised by the schema's own checks, which begin with the key that they are about.
        reason = str(first["ctx"]["error"])
        field = section.model_fields.get(reason.split(" ", 1)[0])
        if field is None:
            raise UsageError(f"{source}: {reason}", "mend that section")
        raise UsageError(f"{source}: {dotted}.{reason}", f"give {field.description}")
    if first["type"] == "missing":
        raise UsageError(f"{source}: {dotted} is missing", f"give {allowed}")
    shown = ascii(first["input"])
    shown = shown if len(shown) <= 80 else f"{shown[:77]}..."
    raise UsageError(f"{source}: {dotted} is {shown}", f"give {allowed}")


def _meaning(keys: list[str]) -> tuple[type[BaseModel], str]:
    """The section that ``keys`` lead into, and what may stand there."""
    section: type[BaseModel] = Descriptor
    allowed = "a document of keys and sections"
    for key in keys:
        field = section.model_fields.get(key)
        if field is None:
            break
        allowed = field.description or f"a section, [{key}]"
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            section = field.annotation
    return section, allowed

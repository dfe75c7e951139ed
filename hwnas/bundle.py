"""Reading and writing bundles: the one reader and the one writer of the format.

Reading trusts nothing: the schema's version, every path, every size and every hash are checked
before a graph is handed to a runtime.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import ValidationError

from hwnas.errors import BundleError, NewerSchema, UnknownName, UnsafePath, shorten
from hwnas.files import atomic_directory, sha256_file
from hwnas.manifest import (
    SCHEMA_VERSION,
    Block,
    Graph,
    Manifest,
    Segment,
    SubnetEntry,
    WeightRange,
    WeightsFile,
)
from hwnas.program import Program, TensorSpec, assemble, check, input_types, program_kind
from hwnas.space import Subnet

if TYPE_CHECKING:
    from onnx import ModelProto

__all__ = [
    "MANIFEST",
    "WEIGHTS",
    "Block",
    "Bundle",
    "BundleWriter",
    "Graph",
    "Manifest",
    "Segment",
    "SubnetEntry",
    "WeightRange",
    "WeightsFile",
    "bytes_used",
    "write_bundle",
]

MANIFEST = "manifest.json"
_AGAIN = "make it again with 'hwnas compile' or 'hwnas export', or copy it again in full"
WEIGHTS = "weights.safetensors"


class Bundle:
    """An opened bundle. Immutable; may be shared between threads.

    Attributes:
        path: its folder.
        manifest: what it says.
    """

    def __init__(self, path: Path, manifest: Manifest, *, verify: bool = False) -> None:
        self.path = path
        self.manifest = manifest
        self._verify = verify

    @classmethod
    def open(
        cls,
        path: str | Path,
        form: Literal["space", "subnets"] | None = None,
        *,
        verify: bool = True,
    ) -> Bundle:
        """Open the bundle at ``path``.

        Args:
            path: its folder.
            form: what it must hold: ``space`` (from compile) or ``subnets`` (from export).
            verify: compare the hash of every file; without it only sizes are compared.

        Raises:
            BundleError: missing, cut off, altered or unreadable; a form that does not fit.
            NewerSchema: written by a newer hwnas.
            UnsafePath: it names a file outside its folder.
            SignatureError: a program whose calls do not fit each other.
        """
        root = Path(path)
        manifest = _read_manifest(root)
        bundle = cls(root, manifest, verify=verify)
        if form is not None and manifest.form != form:
            fix = {
                "space": "give the folder that 'hwnas compile' wrote",
                "subnets": "give the folder that 'hwnas export --to bundle' wrote",
            }
            raise BundleError(
                f"{root} is a bundle of form {manifest.form!r}, not {form!r}", fix[form]
            )
        bundle._check_files(verify)
        bundle._check_programs()
        return bundle

    def _check_programs(self) -> None:
        """What the manifest says fits together: every block is there, every program type-checks."""
        manifest = self.manifest
        if manifest.form == "space":
            wanted = [f"{slot}/{choice}" for slot, choice in manifest.space.blocks]
            missing = [unit for unit in wanted if unit not in manifest.blocks]
            if missing:
                raise BundleError(f"{self.path} lacks the blocks {shorten(missing)}", _AGAIN)
            check(self.program(manifest.space.largest()), manifest.blocks, manifest.inputs)
            return
        if not manifest.subnets or not manifest.outputs:
            raise BundleError(f"{self.path} holds no subnet, or one without outputs", _AGAIN)
        for unit, segment in manifest.segments.items():
            if not segment.outputs:
                raise BundleError(f"{self.path}: segment {unit!r} gives nothing", _AGAIN)
        for name, entry in manifest.subnets.items():
            inputs = entry.inputs or manifest.inputs
            outputs = entry.outputs or manifest.outputs
            types = check(entry.program, manifest.segments, inputs)
            given = [(public, types[value]) for public, value in entry.program.outputs.items()]
            fits = [n for n, _ in given] == [spec.name for spec in outputs] and all(
                found.fits(spec) for (_, found), spec in zip(given, outputs, strict=True)
            )
            named = [tuple(s.name for s in specs) for specs in (inputs, outputs)]
            known = [tuple(s.name for s in specs) for specs in (manifest.inputs, manifest.outputs)]
            if not fits or entry.program.inputs != named[0] or named != known:
                raise BundleError(
                    f"{self.path}: subnet {name!r} does not take and give what the manifest says",
                    _AGAIN,
                )

    def _check_files(self, verify: bool) -> None:
        weights = self.manifest.weights
        _check_file(self.file(weights.file), weights.bytes, weights.sha256, verify)
        for graph in self.graphs.values():
            _check_file(self.file(graph.file), graph.bytes, graph.sha256, verify)

    def file(self, relative: str) -> Path:
        """Path of a file of the bundle; :class:`UnsafePath` if it would lie outside."""
        try:
            full = (self.path / relative).resolve()
            inside = full.is_relative_to(self.path.resolve()) and not Path(relative).is_absolute()
        except (ValueError, OSError, RuntimeError):  # a null byte, a loop of links
            inside = False
        if not inside:
            raise UnsafePath(
                f"{self.path}: the manifest names {relative!r}, which is outside the bundle",
                "get the bundle again from where it was made; do not use this one",
            )
        return full

    @cached_property
    def graphs(self) -> Mapping[str, Graph]:
        """All blocks and segments by id."""
        return {**self.manifest.blocks, **self.manifest.segments}

    def model(self, unit: str) -> bytes:
        """Serialised ONNX of a block or segment; its weights are external, in :attr:`path`.

        The very bytes that are returned are held to the hash, whatever was there at opening.
        """
        graph = self.graphs[unit]
        path = self.file(graph.file)
        data = path.read_bytes()
        if self._verify and hashlib.sha256(data).hexdigest() != graph.sha256:
            raise _altered(path)
        return data

    def kinds(self) -> dict[str, str]:
        """Each kind with the first block of that kind, in the order of the space."""
        first: dict[str, str] = {}
        for unit, block in self.manifest.blocks.items():
            first.setdefault(block.kind, unit)
        return first

    def subnet(self, name: str) -> Subnet:
        """The subnet of that name: any of the space, or one that ships (form ``subnets``).

        Raises:
            UnknownName: there is none.
        """
        if self.manifest.form == "space":
            return self.manifest.space.find(name)
        return Subnet(name=name, spec=name, choices=self.entry(name).choices)

    def program(self, subnet: Subnet) -> Program:
        """The program of ``subnet``: of calls of blocks, or of segments (form ``subnets``).

        Raises:
            UnknownName: it does not ship (form ``subnets``).
        """
        if self.manifest.form == "space":
            return assemble(self.manifest.space, subnet)
        return self.entry(subnet.name).program

    def inputs(self, subnet: Subnet) -> tuple[TensorSpec, ...]:
        """What ``subnet`` takes, from either form; other subnets may take other shapes.

        Raises:
            UnknownName: as :meth:`program`.
        """
        return self.inputs_of(self.program(subnet))

    def inputs_of(self, program: Program) -> tuple[TensorSpec, ...]:
        """What ``program``, of this bundle's blocks or segments, takes."""
        return input_types(program, self.graphs, self.manifest.inputs)

    def outputs(self, subnet: Subnet) -> tuple[TensorSpec, ...]:
        """What ``subnet`` gives, from either form, under the network's names.

        Raises:
            UnknownName: as :meth:`program`.
        """
        program = self.program(subnet)
        types = check(program, self.graphs, self.inputs_of(program))
        return tuple(
            types[value].model_copy(update={"name": public})
            for public, value in program.outputs.items()
        )

    def subnet_kind(self, subnet: Subnet) -> str:
        """Structural hash of ``subnet``, from either form: the key of its measurements as a whole.

        Raises:
            UnknownName: as :meth:`program`.
        """
        if self.manifest.form != "space":
            return self.entry(subnet.name).kind
        kinds = {unit: block.kind for unit, block in self.manifest.blocks.items()}
        return program_kind(self.program(subnet), kinds)

    def entry(self, name: str) -> SubnetEntry:
        """The shipped subnet of that name (form ``subnets``).

        Raises:
            UnknownName: it does not ship; those that do are listed.
        """
        try:
            return self.manifest.subnets[name]
        except KeyError:
            raise UnknownName("subnet", name, list(self.manifest.subnets)) from None

    def weight_bytes(self, subnet: Subnet) -> int:
        """Bytes of weights that ``subnet`` uses, from either form, each byte counted once.

        Raises:
            UnknownName: as :meth:`program`.
        """
        if self.manifest.form != "space":
            return self.entry(subnet.name).weight_bytes
        return bytes_used(self.manifest.blocks[unit] for unit in subnet.blocks)


def bytes_used(graphs: Iterator[Graph] | list[Graph]) -> int:
    """Bytes of the weights file that ``graphs`` use together, each byte counted once."""
    ranges: dict[str, list[tuple[int, int]]] = {}
    for graph in graphs:
        for used in graph.weights:
            ranges.setdefault(used.tensor, []).append((used.offset, used.offset + used.length))
    total = 0
    for spans in ranges.values():
        end = 0
        for start, stop in sorted(spans):
            total += max(0, stop - max(start, end))
            end = max(end, stop)
    return total


def _read_manifest(root: Path) -> Manifest:
    path = root / MANIFEST
    if not root.exists():
        raise BundleError(f"{root} does not exist", "check the path")
    if not path.is_file():
        raise BundleError(f"{root} is not a bundle: it has no {MANIFEST}", _AGAIN)
    try:
        data = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{path} is cut off or not JSON: {error}", _AGAIN) from error
    version = data.get("schema_version") if isinstance(data, dict) else None
    if type(version) is not int:
        raise BundleError(f"{path} has no schema_version", _AGAIN)
    if version > SCHEMA_VERSION:
        raise NewerSchema(path, version, SCHEMA_VERSION)
    try:
        return Manifest.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the manifest"
        raise BundleError(f"{path}: {where}: {first['msg']}", _AGAIN) from error


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key appears twice")
    return found


def _check_file(path: Path, size: int, sha256: str, verify: bool) -> None:
    if not path.is_file():
        raise BundleError(f"{path} is missing", _AGAIN)
    found = path.stat().st_size
    if found != size:
        raise BundleError(f"{path} has {found} bytes, the manifest says {size}", _AGAIN)
    if verify and sha256_file(path) != sha256:
        raise _altered(path)


def _altered(path: Path) -> BundleError:
    return BundleError(f"{path} was altered: its SHA-256 is not the manifest's", _AGAIN)


@contextmanager
def write_bundle(path: Path, form: Literal["space", "subnets"]) -> Iterator[BundleWriter]:
    """Write a bundle whole or not at all.

    Args:
        path: its folder; a bundle of the same form that is there is replaced.
        form: as in the manifest.

    Yields:
        A writer; call its :meth:`BundleWriter.finish` last.

    Raises:
        UsageError: ``path`` exists and is something else.
        HwnasError: the disk is full or the place cannot be written.
    """
    with atomic_directory(path, f"bundle of form {form!r}") as folder:
        yield BundleWriter(folder)


class BundleWriter:
    """Puts files into a bundle that is being written. ``folder`` holds ``weights.safetensors``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def add_graph(self, file: str, model: bytes) -> tuple[str, int]:
        """Write one ONNX file; returns its SHA-256 and its size."""
        path = self.folder / file
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(model)
        return hashlib.sha256(model).hexdigest(), len(model)

    def add_segment(
        self,
        unit: str,
        model: ModelProto,
        weights: tuple[WeightRange, ...] = (),
        blocks: tuple[str, ...] = (),
    ) -> Segment:
        """Write ``model`` as the segment ``unit``, and describe it.

        Args:
            unit: its id.
            model: with static shapes; its weights lie in the weights file.
            weights: what it uses of them.
            blocks: that it holds, in order; none if it was cut elsewhere.
        """
        from hwnas.graphs import graph_kind, signature  # imports onnx, which reading does without

        file = f"segments/{unit}.onnx"
        sha256, size = self.add_graph(file, model.SerializeToString(deterministic=True))
        inputs, outputs = signature(model.graph)
        return Segment(
            blocks=blocks,
            file=file,
            sha256=sha256,
            bytes=size,
            kind=graph_kind(model),
            inputs=inputs,
            outputs=outputs,
            weights=weights,
        )

    def weights(self) -> WeightsFile:
        """Describe the weights file, which must have been written into :attr:`folder`."""
        path = self.folder / WEIGHTS
        return WeightsFile(file=WEIGHTS, sha256=sha256_file(path), bytes=path.stat().st_size)

    def finish(self, manifest: Manifest) -> None:
        """Write the manifest: the same manifest gives the same bytes.

        Without spaces: in a small network's bundle they would be a part that shows. 'hwnas
        inspect' is for reading.
        """
        text = json.dumps(manifest.model_dump(mode="json"), separators=(",", ":"))
        (self.folder / MANIFEST).write_text(text + "\n", encoding="utf-8")

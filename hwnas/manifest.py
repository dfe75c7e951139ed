"""What ``manifest.json`` says: the file format of a bundle, and nothing but data.

    net.hwnas/
      manifest.json         this file's models; written last
      weights.safetensors   every tensor once
      blocks/*.onnx         form "space": one graph per block, for measuring and choosing
      segments/*.onnx       form "subnets": what the chosen subnets share, for running

Graphs hold no weights: their initialisers point into ``weights.safetensors`` by byte offset, as
ONNX external data whose location is relative to the bundle's folder. ``schema_version`` counts
changes of this format, apart from the version of hwnas.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import Field, StringConstraints

from hwnas.frozen import Frozen
from hwnas.program import Program, TensorSpec
from hwnas.space import Space

__all__ = [
    "SCHEMA_VERSION",
    "Block",
    "Finalised",
    "Graph",
    "Manifest",
    "Segment",
    "SubnetEntry",
    "WeightRange",
    "WeightsFile",
]

SCHEMA_VERSION: Final = 3
"""1: portable bundles only. 2: ``finalised`` may say what a bundle was made for. 3: a space may
have dimensions, so that subnets may take and give other shapes than the largest."""


Count = Annotated[int, Field(ge=0, lt=2**62)]
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.=/-]{1,400}$")]
FileName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_=][A-Za-z0-9_.=-]{0,200}$")]
"""Names are printed and become file names: nothing that leaves a folder or drives a terminal."""
Path = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.=/-]{1,400}$")]
"""Of a file, relative to the bundle; a marker of a runtime's own cannot be one."""


class WeightRange(Frozen):
    """Bytes of one stored tensor that a graph uses: ``length`` bytes from ``offset`` in it."""

    tensor: str
    offset: Count
    length: Count


class Graph(Frozen):
    """One ONNX file of the bundle.

    Attributes:
        file: path relative to the bundle's folder.
        sha256: of that file.
        bytes: its size.
        kind: structural hash; graphs of one kind differ only in the values of their weights.
        inputs, outputs: its signature, in order.
        weights: what it uses of the weights file.
    """

    file: Path
    sha256: str
    bytes: Count
    kind: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    weights: tuple[WeightRange, ...]


class Block(Graph):
    """One choice at one slot."""

    slot: str
    choice: str


class Segment(Graph):
    """What the same subnets run one after the other: linked blocks, or parts of them.

    ``blocks`` names those that it holds whole; a finalised segment is cut across blocks and
    names none.
    """

    blocks: tuple[str, ...] = ()


class WeightsFile(Frozen):
    """The one weights file."""

    file: Path
    sha256: str
    bytes: Count


class SubnetEntry(Frozen):
    """A subnet that ships.

    Attributes:
        choices: slot to choice.
        program: calls of segments.
        kind: structural hash of the whole subnet, the key of whole-subnet measurements.
        weight_bytes: bytes of weights that it uses.
        quality: as in the plan, if there was one.
        cost: predicted and measured cost, as in the plan (ms, bytes).
        inputs, outputs: what it takes and gives, where that is not the network's.
    """

    choices: dict[str, str]
    program: Program
    kind: str
    weight_bytes: Count
    quality: float | None = None
    cost: dict[str, float] = Field(default_factory=dict)
    inputs: tuple[TensorSpec, ...] | None = None
    outputs: tuple[TensorSpec, ...] | None = None


class Finalised(Frozen):
    """What a finalised bundle was made on and runs on; elsewhere it is refused.

    Attributes:
        runtime, version: whose optimiser finished the graphs, such as ``onnxruntime`` 1.32.0.
        machine: architecture as ``uname -m`` says it.
        isa: instruction sets of the CPU that the runtime's kernels choose by, in a fixed order.
        options: of the optimiser.
    """

    runtime: Literal["onnxruntime"]
    version: str
    machine: str
    isa: tuple[str, ...]
    options: dict[str, str] = Field(default_factory=dict)

    def __str__(self) -> str:
        sets = f" with {', '.join(self.isa)}" if self.isa else ""
        return f"{self.runtime} {self.version} on {self.machine}{sets}"


class Manifest(Frozen):
    """All that is known of a bundle; see the module's docstring for the files beside it.

    ``inputs`` and ``outputs`` are those of the subnet that takes the most, of the space or of what
    ships.
    """

    schema_version: Literal[1, 2, 3] = SCHEMA_VERSION
    hwnas: str
    form: Literal["space", "subnets"]
    space: Space
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    weights: WeightsFile
    finalised: Finalised | None = None
    blocks: dict[Name, Block] = Field(default_factory=dict)
    segments: dict[Name, Segment] = Field(default_factory=dict)
    subnets: dict[FileName, SubnetEntry] = Field(default_factory=dict)
    provenance: dict[str, Any] = Field(default_factory=dict)

"""Writes the fuzz target's corpus: ``python -m tests.native.make_corpus HWNAS_TEST_DATA``.

The first byte of a file says what it holds: ``m`` a manifest, ``g`` a graph.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

CORPUS = Path(__file__).parent / "corpus"


def _small(manifest: dict[str, Any]) -> dict[str, Any]:
    """Without what is not read, and with two subnets at most."""
    manifest |= {"space": {}, "provenance": {}}
    manifest["subnets"] = dict(list(manifest["subnets"].items())[-2:])
    return manifest


def main(data: Path) -> None:
    """Write the corpus from the bundles of the native tests."""
    CORPUS.mkdir(exist_ok=True)
    for case in ("layers", "skips", "types"):
        bundle = data / case / "bundle"
        manifest = _small(json.loads((bundle / "manifest.json").read_text()))
        _manifest(case, manifest)
        graph = sorted((bundle / "segments").iterdir())[0]
        (CORPUS / f"graph-{case}").write_bytes(b"g" + graph.read_bytes())
    shapes = json.loads((data / "shapes" / "bundle" / "manifest.json").read_text())
    several = {name: shapes["subnets"][name] for name in ("r8-d1-mlp.h16", "r16-d1-mlp.h16")}
    _manifest("shapes", _small(shapes | {"subnets": several}))
    manifest = _small(json.loads((data / "skips" / "bundle" / "manifest.json").read_text()))
    record = {"runtime": "onnxruntime", "version": "1.32.0", "machine": "x86_64", "isa": ["avx"]}
    _manifest("finalised", manifest | {"schema_version": 2, "finalised": record})
    _manifest("newer", manifest | {"schema_version": 99})
    weights = manifest["weights"] | {"file": "*/_ORT_MEM_ADDR_/*"}
    _manifest("address", manifest | {"weights": weights})
    loop = json.loads(json.dumps(manifest))
    for subnet in loop["subnets"].values():
        calls = subnet["program"]["calls"]
        calls[0]["inputs"] = [calls[-1]["outputs"][0]]
    _manifest("loop", loop)
    deep = "[" * 100 + "]" * 100
    (CORPUS / "manifest-deep").write_text(f'm{{"schema_version": {deep}}}')
    (CORPUS / "manifest-twice").write_text('m{"form": "subnets", "form": "space"}')


def _manifest(name: str, manifest: dict[str, Any]) -> None:
    (CORPUS / f"manifest-{name}").write_text("m" + json.dumps(manifest))


if __name__ == "__main__":
    main(Path(sys.argv[1]))

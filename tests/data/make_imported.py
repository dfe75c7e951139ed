"""Makes ``imported_vN.db``, N being the schema that this version of hwnas writes. Not run by tests.

A table of imported numbers: two kinds of block, one whose time is in the other's entry, and one
whole subnet; all numbers are made up. Run it from the root when the schema has changed:
``python -m tests.data.make_imported [FOLDER]``.
"""

from __future__ import annotations

import sys
from pathlib import Path

from hwnas.table.importing import ImportedRow, write_imported
from hwnas.table.imports import imported_fingerprint
from hwnas.table.records import Imported
from hwnas.table.schema import SCHEMA_VERSION


def main(beside: Path) -> None:
    """Write the file."""
    yaml, csv = "224_lookup_table.yaml", "rows.csv"
    key = "expanded_conv-input:8x8x16-output:8x8x16-expand:48-kernel:3-stride:1-idskip:1-se:0-hs:0"
    rows = [
        ImportedRow("a" * 32, "block", "stage.0/k3e3", Imported(1.5, 0.05, 50, yaml, key)),
        ImportedRow("b" * 32, "block", "head/base", Imported(0.0, None, None, yaml, "-"), "within"),
        ImportedRow("c" * 32, "subnet", "d1", Imported(5.25, 0.1, None, csv, "line 2")),
    ]
    path = beside / f"imported_v{SCHEMA_VERSION}.db"
    write_imported(path, imported_fingerprint("Galaxy Note10"), rows, [], "ofa-yaml")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)

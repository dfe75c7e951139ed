"""Tables that others measured, as lookup tables: what they say is checked, and kept apart."""

from hwnas.table.importing.blocks import import_ofa
from hwnas.table.importing.entries import Entry
from hwnas.table.importing.ofa_yaml import read_ofa_yaml
from hwnas.table.importing.subnets import Whole, import_subnets, read_subnets
from hwnas.table.importing.write import ImportedRow, write_imported

__all__ = [
    "Entry",
    "ImportedRow",
    "Whole",
    "import_ofa",
    "import_subnets",
    "read_ofa_yaml",
    "read_subnets",
    "write_imported",
]

"""The version is written once, in hwnas/_version.py."""

import importlib.metadata

import hwnas
from hwnas.runtime import _native


def test_package_metadata_and_extension_agree() -> None:
    assert hwnas.__version__ == importlib.metadata.version("hwnas")
    assert hwnas.__version__ == _native.version()

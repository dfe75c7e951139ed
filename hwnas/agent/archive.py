"""The agent as one file that a device's Python runs: ``agent.pyz``.

It holds only what measuring needs, with the entry points of the profilers that come along, so that
they are found there as they are here. The bytes depend on nothing but the sources.
"""

from __future__ import annotations

import io
import zipfile
from importlib.metadata import distribution
from pathlib import Path

from hwnas import plugins
from hwnas._version import __version__
from hwnas.errors import HwnasError

__all__ = ["build"]

_MODULES = ("__init__", "_version", "errors", "files", "plugins", "processes")
_MAIN = "import sys\nfrom hwnas.agent.__main__ import main\n\nsys.exit(main())\n"
_EPOCH = (1980, 1, 1, 0, 0, 0)


def build() -> bytes:
    """The archive's bytes; equal sources give equal bytes.

    Raises:
        HwnasError: hwnas is installed in a way that its sources cannot be read.
    """
    here = Path(__file__).parent
    files = {f"hwnas/{name}.py": here.parent / f"{name}.py" for name in _MODULES}
    for path in here.rglob("*.py"):
        files[f"hwnas/agent/{path.relative_to(here).as_posix()}"] = path
    points = []
    for name, origin in plugins.names(plugins.PROFILERS).items():
        if origin == "hwnas":
            module, _, attribute = plugins.find(plugins.PROFILERS, name).value.partition(":")
            path = _source(module)
            files[f"{module.replace('.', '/')}.py"] = path
            files[f"{module.partition('.')[0]}/__init__.py"] = path.parent / "__init__.py"
            points.append(f"{name} = {module}:{attribute}\n")
    texts = {"__main__.py": _MAIN.encode()}
    about = f"hwnas-{__version__}.dist-info"
    texts[f"{about}/METADATA"] = (
        f"Metadata-Version: 2.1\nName: hwnas\nVersion: {__version__}\n".encode()
    )
    texts[f"{about}/entry_points.txt"] = f"[{plugins.PROFILERS}]\n{''.join(points)}".encode()
    try:
        texts.update({name: path.read_bytes() for name, path in files.items()})
    except OSError as error:
        raise HwnasError(
            f"the agent cannot be packed: {error.filename}: {error.strerror}",
            "install hwnas as a wheel or from a checkout",
        ) from error
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in sorted(texts):
            info = zipfile.ZipInfo(name, _EPOCH)
            info.compress_type = zipfile.ZIP_DEFLATED
            info.external_attr = 0o644 << 16
            archive.writestr(info, texts[name])
    return buffer.getvalue()


def _source(module: str) -> Path:
    """The file of a module, without importing it."""
    relative = f"{module.replace('.', '/')}.py"
    for file in distribution("hwnas").files or ():
        if str(file) == relative:
            return Path(str(file.locate()))
    # An editable install lists no sources: its finder knows where they are.
    from importlib.util import find_spec

    spec = find_spec(module)
    if spec is None or spec.origin is None:
        raise HwnasError(f"the profiler module {module} has no source file", "reinstall hwnas")
    return Path(spec.origin)

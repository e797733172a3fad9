"""What ``moewright --version`` prints."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

from moewright.version import __version__

#: packages that change what is computed or whether it can be: name → what it brings
_PACKAGES = {
    "numpy": "arrays",
    "numba": "placement search",
    "altair": "figures of reports",
    "aiconfigurator-core": "measured kernel tables",
    "torch": "moewright run",
    "mcp": "moewright mcp",
    "starlette": "moewright ui",
}


def version_lines() -> list[str]:
    """The version first; then Python, packages with what they bring, and the newest known version of each engine."""
    from moewright.launch.exporters.engine_export import EXPORTS, version_of

    lines = [f"moewright {__version__}", f"Python {platform.python_version()}"]
    for name, what in _PACKAGES.items():
        try:
            lines.append(f"{name} {version(name)} ({what})")
        except PackageNotFoundError:
            lines.append(f"{name}: not installed ({what})")
    engines = ", ".join(f"{name} {version_of(name, None).version}" for name in EXPORTS)
    return [*lines, f"Options of engines known up to: {engines}"]

"""``moewright mcp``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from moewright.cli.app import app
from moewright.errors import SpecError


@app.command("mcp")
def mcp_server(
    http: Annotated[
        int | None, typer.Option(min=1, max=65535, metavar="PORT", help="Serve HTTP on this machine, not stdio.")
    ] = None,
    root: Annotated[Path, typer.Option(help="The folder below which files may be read.")] = Path("."),
) -> None:
    """Serve plan, fit, serve, launch, doctor and the rest to assistants, by the Model Context Protocol."""
    try:
        from moewright.mcp.server import server
    except ImportError:
        raise SpecError("needs the MCP SDK 2: pip install 'moewright[mcp]'", field="mcp") from None
    if not root.is_dir():
        raise SpecError("is no folder; expected one that exists", file=str(root)[:200], field="--root")
    made = server(root)
    if http is None:
        made.run("stdio")
    else:
        made.run("streamable-http", host="127.0.0.1", port=http)

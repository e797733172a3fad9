"""``moewright ui``."""

from __future__ import annotations

from typing import Annotated

import typer

from moewright.cli.app import app
from moewright.errors import SpecError


@app.command()
def ui(
    port: Annotated[int, typer.Option(min=0, max=65535, help="Of this machine; 0: any that is free.")] = 8722,
    open_page: Annotated[bool, typer.Option("--open/--no-open", help="Open it in the browser.")] = True,
) -> None:
    """A page on this machine where the plan follows your input: choose or paste a case, change it, copy the command."""
    try:
        from moewright.ui.local_server import serve_page
    except ModuleNotFoundError as error:
        raise SpecError(f"needs {error.name}: pip install 'moewright[ui]'", field="ui") from None

    def tell(url: str) -> None:
        typer.echo(f"moewright: {url} (only from this machine; Ctrl-C ends it)", err=True)
        if open_page:
            import webbrowser

            webbrowser.open(url)

    serve_page(port, tell)

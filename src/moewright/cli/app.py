"""The command itself, and what its verbs share."""

from __future__ import annotations

from typing import Annotated

import typer

app = typer.Typer(
    name="moewright",
    help="Lay a Mixture-of-Experts transformer out over a GPU cluster, with every number derived and checked.",
    no_args_is_help=True,
    add_completion=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

#: what --premises has where no file follows it
PRINTED = "-"

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object (SI units).")]
Name = Annotated[str | None, typer.Argument(help="One of them, to be explained.")]


@app.callback(invoke_without_command=True)
def _root(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version, and those of tables and engines that it knows.")
    ] = False,
) -> None:
    if version:
        from moewright.report.known_versions import version_lines

        typer.echo("\n".join(version_lines()))
        raise typer.Exit

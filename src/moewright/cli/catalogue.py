"""``moewright schema``, ``models``, ``devices`` and ``clusters``."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from moewright.cli.app import Json, Name, app
from moewright.cli.output import print_json

if TYPE_CHECKING:
    from moewright.report.blocks import Section


Model = Annotated[
    str | None, typer.Argument(help="A name, a path to a config.json or its folder, or a Hugging Face id.")
]


@app.command()
def schema(
    placement: Annotated[bool, typer.Option("--placement", help="Of a placement file instead.")] = False,
) -> None:
    """Print the JSON Schema of a spec file, for editors."""
    from moewright.case.file.schema import schema as of_spec

    if placement:
        from moewright.placement.files.placement_schema import schema as of_placement

        print_json(of_placement())
    else:
        print_json(of_spec())


@app.command()
def models(name: Model = None, as_json: Json = False) -> None:
    """List the models of the catalogue, or explain any: its name, a path to a config.json, or a Hugging Face id."""
    from moewright.report import catalogue_page as catalogue

    _catalogue(name, as_json, catalogue.list_models, catalogue.explain_model)


@app.command()
def devices(name: Name = None, as_json: Json = False) -> None:
    """List the devices of the catalogue, or explain one."""
    from moewright.report import catalogue_page as catalogue

    _catalogue(name, as_json, catalogue.list_devices, catalogue.explain_device)


@app.command()
def clusters(name: Name = None, as_json: Json = False) -> None:
    """List the clusters of the catalogue, or explain one."""
    from moewright.report import catalogue_page as catalogue

    _catalogue(name, as_json, catalogue.list_clusters, catalogue.explain_cluster)


def _catalogue(
    name: str | None,
    as_json: bool,
    several: Callable[[], tuple[Any, Section]],
    one: Callable[[str], tuple[Any, Section | list[Section]]],
) -> None:
    plain, section = several() if name is None else one(name)
    if as_json:
        print_json(plain)
    else:
        from moewright.report.terminal import show

        show(section if isinstance(section, list) else [section])

"""What all figures share: the record, colours as CSS variables (so that a page sets light, dark and print), units.

Vega draws SVG whose colours are ``var(--…)``: ``style.css`` gives them on a page, and a file that stands alone carries
them in itself (``static_svg``).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from importlib import resources
from typing import Any, Final, cast

import altair as alt

#: rows of a figure's data
Rows = list[dict[str, Any]]

#: variables of the colours of series, and of what is written on them
SERIES: Final = tuple(f"var(--c{i})" for i in range(1, 11))
ON: Final = tuple(f"var(--on{i})" for i in range(1, 11))
#: little to much
HEAT: Final = tuple(f"var(--h{i})" for i in range(7))
EXPERTS, ATTENTION, REST, EXCHANGE, COLLECTIVE, IDLE, GOOD, BAD, OTHER, WARN = SERIES
INK, MUTED, GRID = "var(--ink)", "var(--muted)", "var(--grid)"
#: a figure that stands alone is so wide
STATIC_WIDTH: Final = 820
#: of a mark: the width of the figure, whatever it is
WHOLE: Final = alt.ExprRef("width")
#: columns of a legend, fewer on a narrow screen
LEGEND_COLUMNS: Final = {"expr": "width < 480 ? 2 : width < 700 ? 4 : 6"}
FONT: Final = "system-ui, -apple-system, 'Segoe UI', 'Liberation Sans', sans-serif"


@dataclass(frozen=True, slots=True)
class Figure:
    """``title`` says what is to be seen, ``caption`` how to read it and what it leaves out. ``panel``: fields of a
    point (field → label) that a click shows beside the figure."""

    name: str
    title: str
    caption: str
    chart: alt.Chart | alt.LayerChart
    panel: dict[str, str] = field(default_factory=dict)

    def spec(self) -> dict[str, Any]:
        """The Vega-Lite specification, as wide as its container."""
        return dict(themed(self.chart.properties(width="container")).to_dict())


def themed(chart: alt.Chart | alt.LayerChart) -> Any:
    """``chart`` with the look that all figures have."""
    text = {"labelColor": MUTED, "titleColor": INK, "labelFont": FONT, "titleFont": FONT, "titleFontWeight": 500}
    return (
        chart.configure(background="transparent", font=FONT, padding={"left": 4, "right": 12, "top": 6, "bottom": 4})
        .configure_view(stroke=None)
        .configure_axis(**text, gridColor=GRID, domainColor=GRID, tickColor=GRID, labelFontSize=12, titleFontSize=12)
        .configure_legend(
            **text,
            orient="top",
            title=None,
            labelFontSize=12,
            labelLimit=260,
            symbolType="square",
            offset=24,
            columns=LEGEND_COLUMNS,
        )
        .configure_text(fill=INK, font=FONT, fontSize=12)
    )


def layered(*charts: alt.Chart, height: float, own_colours: bool = False) -> alt.LayerChart:
    """``charts`` one over another, ``height`` pixels high. ``own_colours``: each has a scale of colours for itself."""
    chart = alt.layer(*charts).properties(height=height)
    return cast(alt.LayerChart, chart.resolve_scale(color="independent") if own_colours else chart)


def data(rows: Iterable[dict[str, Any]]) -> Any:
    """Rows as data of a chart."""
    return alt.InlineData(values=list(rows))


def tips(*named: tuple[str, str]) -> list[alt.Tooltip]:
    """(field, label) as the lines of a tooltip; fields are texts, as the rest of the report prints them."""
    return [alt.Tooltip(f"{name}:N", title=label) for name, label in named]


def colours(names: Sequence[str], values: Sequence[str], title: str | None = None, legend: bool = True) -> Any:
    """The colour of each of ``names``, a field ``kind``'s values."""
    scale = alt.Scale(domain=list(names), range=list(values))
    return alt.Color("kind:N", scale=scale, legend=alt.Legend(title=title) if legend else None)


def picked_rows(count: int, most: int) -> list[int]:
    """Positions of at most ``most`` of ``count``, spread evenly, first and last among them."""
    if count <= most:
        return list(range(count))
    return sorted({round(i * (count - 1) / (most - 1)) for i in range(most)})


def spaced_values(low: float, high: float) -> list[float]:
    """Places for the ticks of a logarithmic axis: 1, 2 and 5 times powers of ten, or ones alone where they are many."""
    exponents = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    several = (1, 2, 5) if len(exponents) < 5 else (1,)
    return [float(f"{m}e{e}") for e in exponents for m in several if low <= float(f"{m}e{e}") <= high]


def time_unit(longest: float) -> tuple[float, str]:
    """(units a second, name) in which ``longest`` seconds are read well."""
    for factor, name in ((1.0, "s"), (1e3, "ms")):
        if longest * factor >= 1:
            return factor, name
    return 1e6, "us"


def byte_unit(most: float) -> tuple[float, str]:
    """(units a byte, name) in which ``most`` bytes are read well."""
    for factor, name in ((1e-12, "TB"), (1e-9, "GB"), (1e-6, "MB"), (1e-3, "kB")):
        if most * factor >= 1:
            return factor, name
    return 1.0, "B"


def style() -> str:
    """The colours, as CSS."""
    return resources.files("moewright.report.html").joinpath("colours.css").read_text(encoding="utf-8")


def static_svg(figure: Figure, width: int = STATIC_WIDTH) -> str:
    """The figure as an SVG file of its own, light and dark. Needs vl-convert (``moewright[docs]``)."""
    import vl_convert  # type: ignore[import-not-found, unused-ignore]

    chart = themed(figure.chart.properties(width=width)).properties(
        title=alt.Title(figure.title, anchor="start", color=INK, font=FONT, fontSize=15, fontWeight=600, offset=12)
    )
    drawn = str(vl_convert.vegalite_to_svg(chart.to_dict(), vl_version="6.4"))
    head, rest = drawn.split(">", 1)
    label = figure.title.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")
    background = '<rect width="100%" height="100%" fill="var(--page)"/>'
    return f'{head} role="img" aria-label="{label}"><style>{style()}</style>{background}{rest}\n'

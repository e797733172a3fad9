"""Figures by Vega-Lite: one specification each, drawn by a browser in a report, and as SVG into the docs."""

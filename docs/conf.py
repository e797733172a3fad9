"""The documentation site: ``make docs``. Sphinx with MyST (the pages are Markdown) and Furo.

Weighed beside it: MkDocs with Material, which gets security fixes alone since 2025; Zensical, its successor, which is
young (0.1) and has no builder that checks links, nor autodoc of its own. Sphinx turns every warning into an error
(``-W``), finds links that lead nowhere, and documents the Python API from the docstrings.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "src")]

import reference_pages  # noqa: E402

from moewright.version import __version__  # noqa: E402

if TYPE_CHECKING:
    from sphinx.application import Sphinx

project = "moewright"
author = "moewright maintainers"
copyright = author
version = release = __version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build", "*.py"]
source_suffix = {".md": "markdown"}
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
html_theme = "furo"
html_title = f"moewright {release}"
html_static_path: list[str] = []
suppress_warnings = ["misc.highlighting_failure"]
nitpicky = False
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_class_signature = "separated"
default_role = "code"
#: a build has no network: links to elsewhere are checked by ``make links``
linkcheck_ignore = [r"http://localhost.*"]


def setup(app: Sphinx) -> None:
    """Reference pages are made from the code before each build."""
    reference_pages.write(HERE / "reference")

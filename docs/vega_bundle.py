"""Make src/moewright/report/html/vega.js again, from what vl-convert brings: ``python docs/vega_bundle.py``.

After an update of vl-convert: the versions in ``vega.LICENSE.txt`` too.
"""

from __future__ import annotations

from pathlib import Path

import vl_convert

PLACE = Path(__file__).parents[1] / "src" / "moewright" / "report" / "html" / "vega.js"

if __name__ == "__main__":
    PLACE.write_text(vl_convert.javascript_bundle(vl_version="6.4"), encoding="utf-8")
    print(f"vega {vl_convert.get_vega_version()}, vega-embed {vl_convert.get_vega_embed_version()} → {PLACE}")

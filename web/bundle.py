"""Writes `vendor/vega.js`: Vega, Vega-Lite and vega-embed as one script, from the `vl-convert-python` installed.

    python -m web.bundle
"""

from __future__ import annotations

from web import FOLDER

PATH = FOLDER / "vendor" / "vega.js"
NOTE = """/*! Vega, Vega-Lite and vega-embed, bundled by vl-convert-python {version} (python -m web.bundle).
 *  Copyright the University of Washington Interactive Data Lab and contributors; BSD-3-Clause, see LICENSE-vega. */
"""


def bundle() -> str:
    """The script's text for the installed version."""
    import vl_convert

    script: str = vl_convert.javascript_bundle()
    return NOTE.format(version=vl_convert.__version__) + script


if __name__ == "__main__":
    PATH.write_text(bundle(), encoding="utf-8")
    print(f"{PATH}: {PATH.stat().st_size} bytes")

"""Put the figure that chapter 5 has just made on the front page; with --readme, also into the README."""

import base64
import sys
from pathlib import Path

import nbformat

ROOT = Path(__file__).parent.parent
RUN = ROOT / "_build" / "jupyter_execute" / "notebooks" / "05_price.ipynb"
ON_THE_PAGE = ROOT / "_build" / "html" / "_images" / "effect.png"
IN_THE_README = ROOT / "book" / "_static" / "effect.png"


def shown_as(notebook, name) -> bytes:
    """The PNG of the output that the notebook shows under that name."""
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if output.get("metadata", {}).get("scrapbook", {}).get("name") == name:
                return base64.b64decode(output.data["image/png"])
    raise SystemExit(f"{RUN} shows nothing under the name {name!r}")


if __name__ == "__main__":
    picture = shown_as(nbformat.read(RUN, as_version=4), "effect")
    for target in [ON_THE_PAGE] + [IN_THE_README] * ("--readme" in sys.argv):
        target.write_bytes(picture)

"""Copy the figure that chapter 4 made in the last `make book` to where the README shows it."""

import base64
from pathlib import Path

import nbformat

ROOT = Path(__file__).parent.parent
RUN = ROOT / "_build" / "jupyter_execute" / "notebooks" / "04_validation.ipynb"
PICTURE = ROOT / "book" / "_static" / "effect.png"


def glued(notebook, name) -> bytes:
    """The PNG of the output that the notebook shows under that name."""
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if output.get("metadata", {}).get("scrapbook", {}).get("name") == name:
                return base64.b64decode(output.data["image/png"])
    raise SystemExit(f"{RUN} has no output named {name!r}: run make book first")


if __name__ == "__main__":
    PICTURE.write_bytes(glued(nbformat.read(RUN, as_version=4), "effect"))
    print(f"wrote {PICTURE.relative_to(ROOT)}")

"""Write the addresses that _config.yml sets to the places that cannot read them from there."""

import re
from pathlib import Path

import yaml

ROOT = Path(__file__).parent.parent
COLAB = "https://colab.research.google.com/github/"


def edits() -> dict[Path, str]:
    """The text that each file ought to have."""
    config = yaml.safe_load((ROOT / "_config.yml").read_text())
    repository, branch = config["repository"]["url"], config["repository"]["branch"]
    name = repository.removeprefix("https://github.com/")
    site = config["html"]["baseurl"]
    rules = {  # what to write, by where it stands: (pattern whose groups stay, address between them)
        "notebooks/*.ipynb": [
            (rf"({re.escape(COLAB)})[^)\s]+?(/notebooks/\w+\.ipynb)", f"{name}/blob/{branch}"),
            (r"(steering_utils @ git\+)[^@\s]+(@v)", repository),
        ],
        "README.md": [(r"(  url = \{)[^}]*(\})", repository)],
        "book/setup.md": [
            (r"(git clone )\S+()", repository),
            (r"(git clone \S+\ncd )\S+()", name.split("/")[1]),
        ],
        "CITATION.cff": [
            (r"(?m)(^repository-code: )\S+()$", repository),
            (r"(?m)(^url: )\S+()$", site),
        ],
    }
    texts = {}
    for files, replacements in rules.items():
        for file in sorted(ROOT.glob(files)):
            text = file.read_text()
            for pattern, address in replacements:
                text, found = re.subn(pattern, rf"\g<1>{address}\g<2>", text)
                if not found:
                    raise SystemExit(f"{file.relative_to(ROOT)} has no place for {address}")
            texts[file] = text
    return texts


if __name__ == "__main__":
    for file, text in edits().items():
        if text != file.read_text():
            file.write_text(text)
            print("wrote", file.relative_to(ROOT))

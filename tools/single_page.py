"""Put the pages of the built site into one, for printing: _build/html/print.html."""

import posixpath
from pathlib import Path

import yaml
from bs4 import BeautifulSoup

ROOT = Path(__file__).parent.parent
SITE = ROOT / "_build" / "html"
LINKS = {"a": "href", "img": "src", "link": "href", "script": "src"}
NOT_ITS_OWN = "meta[property], link[rel=canonical], link[rel=prev], link[rel=next], link[rel=preload]"
NOT_PRINTED = (
    "script, .headerlink, .prev-next-footer, .toggle-button"  # without its script a slider is a table
)


def pages() -> list[str]:
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text())
    return [toc["root"]] + [chapter["file"] for part in toc["parts"] for chapter in part["chapters"]]


def from_the_root(soup, page, inside=()):
    """Make links relative to the site, and those to pages that are inside links within the one page."""
    for name, attribute in LINKS.items():
        for tag in soup.find_all(name, **{attribute: True}):
            address, _, fragment = tag[attribute].partition("#")
            if ":" in address or address.startswith("/"):
                continue
            path = (
                posixpath.normpath(posixpath.join(posixpath.dirname(page), address))
                if address
                else page + ".html"
            )
            target = path.removesuffix(".html")
            if name == "a" and target in inside:
                tag[attribute] = "#" + anchor(target, fragment)
            else:
                tag[attribute] = path + ("#" + fragment if fragment else "")


def anchor(page, fragment="") -> str:
    """Two chapters may both have an exercise with one name: the page's name comes first."""
    return posixpath.basename(page) + ("--" + fragment if fragment else "")


def single_page() -> BeautifulSoup:
    names = pages()
    read = {name: BeautifulSoup((SITE / f"{name}.html").read_text(), "html.parser") for name in names}
    empty = '<!doctype html><html lang="en" data-theme="light"><body class="one-page"></body></html>'
    whole = BeautifulSoup(empty, "html.parser")
    head = read[names[0]].head
    for tag in head.select(NOT_ITS_OWN):
        tag.decompose()
    for script in head.find_all("script"):  # formulas are set by script; the theme's menus are not here
        if "mathjax" not in str(script).lower():
            script.decompose()
    from_the_root(head, names[0])
    whole.html.insert(0, head)
    main = whole.new_tag("main", attrs={"class": "bd-content"})
    whole.body.append(main)
    for name in names:
        article = read[name].find("article")
        for tag in article.select(NOT_PRINTED):
            tag.decompose()
        for tag in article.find_all(id=True):
            tag["id"] = anchor(name, tag["id"])
        for tag in article.find_all("details"):
            tag["open"] = ""
        from_the_root(article, name, names)
        article["id"] = anchor(name)
        main.append(article)
    return whole


if __name__ == "__main__":
    (SITE / "print.html").write_text(str(single_page()))

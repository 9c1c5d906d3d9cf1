"""The built site: `make book` has run, and every page is there and whole."""

from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
import yaml
from bs4 import BeautifulSoup

ROOT = Path(__file__).parent.parent
SITE = ROOT / "_build" / "html"
TOC = yaml.safe_load((ROOT / "_toc.yml").read_text())
PAGES = [TOC["root"]] + [chapter["file"] for part in TOC["parts"] for chapter in part["chapters"]]
CHAPTERS = [page for page in PAGES if page.startswith("notebooks/")]


@pytest.fixture(scope="module")
def soup():
    """Each page of the site, parsed, by its path below the site's root."""
    files = [f for f in SITE.rglob("*.html") if "_static" not in f.parts]  # those are the theme's templates
    found = {f: BeautifulSoup(f.read_text(), "html.parser") for f in files}
    assert found, f"no site in {SITE}: run make book"
    return {str(file.relative_to(SITE)): page for file, page in found.items()}


@pytest.mark.parametrize("page", PAGES)
def test_the_page_exists_and_has_a_title(soup, page):
    assert soup[f"{page}.html"].find("h1").get_text().strip()


@pytest.mark.parametrize("page", CHAPTERS)
def test_the_chapter_ran_without_error_and_names_its_model(soup, page):
    article = soup[f"{page}.html"].find("article")
    assert not article.select(".cell_output .traceback, .output.traceback")
    assert "Traceback (most recent call last)" not in article.get_text()
    outputs = [out.get_text() for out in article.select(".cell_output")]
    assert any("blocks of width" in out and "transformers" in out for out in outputs)


@pytest.mark.parametrize("page", CHAPTERS)
def test_figures_have_alt_text(soup, page):
    images = soup[f"{page}.html"].select("article .cell_output img")
    assert images
    assert all(len(image.get("alt", "")) > 40 for image in images)


def test_the_front_page_shows_the_figure_that_chapter_4_made(soup):
    image = soup["book/intro.html"].select_one("article figure img")
    shown = (SITE / "book" / image["src"]).resolve().read_bytes()
    made = [f.read_bytes() for f in (ROOT / "_build" / "jupyter_execute").glob("*.png")]
    assert shown in made
    assert image["alt"]


def test_no_page_promises_a_control_that_is_dead(soup):
    for name, page in soup.items():
        assert not page.select(".jupyter-widgets, script[type*='widget-view']"), name


def test_no_internal_link_is_broken(soup):
    broken = []
    for name, page in soup.items():
        here = (SITE / name).parent
        for tag, attribute in (("a", "href"), ("img", "src"), ("script", "src"), ("link", "href")):
            for element in page.find_all(tag, **{attribute: True}):
                url = urlsplit(element[attribute])
                if url.scheme or url.netloc:
                    continue
                target = (here / unquote(url.path)).resolve() if url.path else SITE / name
                target = target / "index.html" if target.is_dir() else target
                if not target.is_file():
                    broken.append(f"{name}: {element[attribute]}")
                elif url.fragment and target.suffix == ".html":
                    other = soup[str(target.relative_to(SITE))]
                    if not other.find(id=unquote(url.fragment)) and url.fragment != "":
                        broken.append(f"{name}: {element[attribute]}")
    assert not broken, "\n".join(sorted(set(broken)))

"""The built site: `make book` has run, and every page is there and whole."""

import re
from pathlib import Path
from urllib.parse import unquote, urlsplit
from xml.etree import ElementTree

import pytest
import yaml
from bs4 import BeautifulSoup
from set_address import edits
from single_page import anchor, pages

ROOT = Path(__file__).parent.parent
CONFIG = yaml.safe_load((ROOT / "_config.yml").read_text())
HOME = CONFIG["html"]["baseurl"]
SITE = ROOT / "_build" / "html"
PAGES = pages()  # in reading order, the front page first
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


def test_the_front_page_shows_the_figure_that_chapter_5_made(soup):
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


def loads(page):
    """What a browser fetches to show the page: scripts, styles, pictures, icons."""
    for tag in page.select("script[src], img[src], source[src], iframe[src], link[href]"):
        if not {"canonical", "next", "prev", "search", "index"} & set(tag.get("rel", [])):
            yield tag.get("src") or tag["href"]


def test_no_page_loads_anything_from_another_host(soup):
    remote = [(name, url) for name, page in soup.items() for url in loads(page) if urlsplit(url).netloc]
    assert not remote
    for style in (SITE / "_static").rglob("*.css"):
        assert not re.search(r"(url\(|@import)[\s\"']*(https?:)?//", style.read_text()), style


@pytest.mark.parametrize("page", PAGES)
def test_a_page_is_light(soup, page):
    """The page and its own pictures; the theme's and MathJax's files are shared by all pages and cached."""
    file = SITE / f"{page}.html"
    own = {(file.parent / unquote(urlsplit(url).path)).resolve() for url in loads(soup[f"{page}.html"])}
    weights = [path.stat().st_size for path in own if (SITE / "_images") in path.parents]
    assert file.stat().st_size + sum(weights) <= (600_000 if page == PAGES[0] else 1_500_000)


@pytest.mark.parametrize("page", CHAPTERS)
def test_the_chapter_offers_colab_binder_a_download_and_its_neighbours(soup, page):
    repository = CONFIG["repository"]["url"].removeprefix("https://github.com/")
    branch = CONFIG["repository"]["branch"]
    head = soup[f"{page}.html"]
    links = {a["href"] for a in head.select(".article-header-buttons a[href]")}
    assert f"https://colab.research.google.com/github/{repository}/blob/{branch}/{page}.ipynb" in links
    assert f"https://mybinder.org/v2/gh/{repository}/{branch}?urlpath=lab/tree/{page}.ipynb" in links
    (download,) = [link for link in links if link.endswith(".ipynb") and not urlsplit(link).netloc]
    assert (SITE / page).parent.joinpath(download).is_file()
    assert len(head.select(".prev-next-footer a")) == 2
    assert any("copybutton" in url for url in loads(head))


def test_the_buttons_do_not_turn_on_live_code(soup):
    assert "thebe" not in CONFIG["launch_buttons"]
    assert not any("unpkg.com" in url for page in soup.values() for url in loads(page))


@pytest.mark.parametrize("page", PAGES)
def test_every_figure_is_captioned_and_numbered(soup, page):
    article = soup[f"{page}.html"].find("article")
    images = article.select(".cell_output img, figure img")
    captions = [image.find_parent("figure").find("figcaption") for image in images]
    assert all(re.match(r"Fig\. \d+ .{40,}", caption.get_text().strip(), re.S) for caption in captions)
    assert images or page not in CHAPTERS


def test_figures_are_numbered_in_reading_order(soup):
    shown = [soup[f"{page}.html"].select("figcaption .caption-number") for page in PAGES]
    numbers = [int(number.get_text().removeprefix("Fig. ")) for page in shown for number in page]
    assert numbers == list(range(1, len(numbers) + 1))


@pytest.mark.parametrize("page", CHAPTERS)
def test_the_chapter_links_its_terms_to_the_glossary_once_each(soup, page):
    links = [a["href"] for a in soup[f"{page}.html"].select("article a[href*='glossary.html#']")]
    assert len(links) >= 5
    assert len(links) == len(set(links))


@pytest.mark.parametrize("page", PAGES)
def test_a_page_that_is_shared_shows_its_title_and_our_picture(soup, page):
    head = soup[f"{page}.html"].head
    of = {meta["property"]: meta["content"] for meta in head.select("meta[property^='og:']")}
    assert of["og:url"] == f"{HOME}{page}.html" == head.select_one("link[rel=canonical]")["href"]
    assert of["og:title"] and of["og:description"]
    assert of["og:site_name"] == "Steering Vectors"
    assert len(of["og:image:alt"]) > 40
    picture = SITE / of["og:image"].removeprefix(HOME)
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_the_sitemap_lists_the_pages():
    tree = ElementTree.parse(SITE / "sitemap.xml")
    found = {loc.text for loc in tree.iter("{http://www.sitemaps.org/schemas/sitemap/0.9}loc")}
    assert found == {f"{HOME}{page}.html" for page in PAGES}


def test_the_404_page_works_at_any_depth(soup):
    page = soup["404.html"]
    assert not list(loads(page))
    links = [a["href"] for a in page.find_all("a")]
    assert links
    for link in links:
        assert (SITE / link.removeprefix(HOME)).is_file()


def test_the_page_for_printing_holds_every_page_once(soup):
    page = soup["print.html"]
    ids = [tag["id"] for tag in page.find_all(id=True)]
    assert len(ids) == len(set(ids))
    assert [article["id"] for article in page.find_all("article")] == [anchor(name) for name in PAGES]
    assert not page.select("article script, details:not([open])")
    assert page.select_one("figcaption") and any("mathjax" in url.lower() for url in loads(page))
    assert any("print.html" in a["href"] for a in soup["book/intro.html"].select("article a[href]"))


def test_the_addresses_that_are_written_out_are_those_of_the_config():
    assert {file: text for file, text in edits().items() if text != file.read_text()} == {}
    repository, site = CONFIG["repository"]["url"], HOME
    elsewhere = []
    for pattern in (
        "*.md",
        "*.cff",
        "*.toml",
        "book/**/*.*",
        "steering_utils/**/*.py",
        "tools/*.py",
        "binder/*",
    ):
        for file in set(ROOT.glob(pattern)) - set(edits()) - set(ROOT.glob("**/*.png")):
            text = file.read_text()
            elsewhere += [file] * (repository in text or site in text)
    assert not elsewhere


def test_the_citation_is_whole():
    """The fields that the Citation File Format 1.2 requires, and what a reader cites."""
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["cff-version"] == "1.2.0"
    assert citation["message"] and citation["authors"][0]["name"]
    assert citation["title"] == CONFIG["title"]
    assert citation["url"] == HOME
    assert citation["repository-code"] == CONFIG["repository"]["url"]
    version = (ROOT / "steering_utils" / "__init__.py").read_text()
    assert f'__version__ = "{citation["version"]}"' in version

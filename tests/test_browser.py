"""The built site in Chromium: every page in light, in dark, on a phone and from the disk, and its sliders."""

import itertools
import math
import re
import statistics
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from axe_playwright_python.sync_playwright import Axe
from bs4 import BeautifulSoup
from test_site import PAGES, SITE

PICTURES = SITE.parent / "screenshots"
STRIP = 4_000  # pixels of a page in one picture
MODES = {  # file is what a reader sees who opens the page from a disk
    "light": {},
    "dark": {},
    "phone": {"viewport": {"width": 360, "height": 740}},
    "file": {},
}
KNOWN_ERROR = "Identifier 'THEBE_JS_URL' has already been declared"  # Jupyter Book writes it twice
THEMES_OWN = {  # axe's findings in the theme's own parts: the rule, and the class of what it may be found on
    "label-content-name-mismatch": re.compile(r"\b(search|theme-switch)-button\b"),
    "region": re.compile(r"\blogo__image\b"),
}


@dataclass
class Visit:
    """A page that has been opened, and what was heard from it meanwhile."""

    name: str
    mode: str
    page: object
    errors: list = field(default_factory=list)
    requested: list = field(default_factory=list)
    failed: list = field(default_factory=list)

    def open(self, url):
        """Listen, then load the page and wait for its formulas."""
        self.page.on("console", lambda said: self.errors.append(said.text) if said.type == "error" else None)
        self.page.on("pageerror", lambda error: self.errors.append(error.message))
        self.page.on("request", lambda request: self.requested.append(request.url))
        self.page.on("requestfailed", lambda request: self.failed.append(request.url))
        self.page.on("response", lambda got: self.failed.append(got.url) if got.status >= 400 else None)
        self.page.goto(url, wait_until="load")
        self.page.evaluate("() => window.MathJax?.startup?.promise")
        return self


class Quiet(SimpleHTTPRequestHandler):
    """A file server that does not write a line for each request."""

    def log_message(self, *args):
        pass


@pytest.fixture(scope="module")
def server():
    """The site's address on this machine."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(SITE))) as made:
        threading.Thread(target=made.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{made.server_port}"
        made.shutdown()


@pytest.fixture(scope="module")
def contexts(browser):
    """A browser context for each mode, with the theme that a reader chose there."""
    made = {}
    for mode, options in MODES.items():
        theme = "dark" if mode == "dark" else "light"
        made[mode] = browser.new_context(**options)
        made[mode].add_init_script(f"localStorage.mode = localStorage.theme = '{theme}'")
    return made


@pytest.fixture(scope="module")
def visit(request, contexts, server):
    """The page in that mode, opened once for all tests of it."""
    name, mode = request.param
    page = contexts[mode].new_page()
    yield Visit(name, mode, page).open(f"{SITE.as_uri() if mode == 'file' else server}/{name}.html")
    page.close()


def every_page(*modes):
    """Run the test on each page in these modes."""
    chosen = [(name, mode) for name in PAGES for mode in modes]
    ids = [f"{name.split('/')[-1]}-{mode}" for name, mode in chosen]
    return pytest.mark.parametrize("visit", chosen, indirect=True, ids=ids, scope="module")


@every_page(*MODES)
def test_nothing_is_missing_with_all_other_hosts_out_of_reach(visit):
    assert visit.failed == []
    elsewhere = [url for url in visit.requested if urlsplit(url).hostname not in {None, "", "127.0.0.1"}]
    assert elsewhere == []
    visit.page.evaluate(
        "Promise.all([...document.images].map((image) => (image.loading = 'eager', image.decode())))"
    )
    assert (
        visit.page.evaluate("[...document.images].filter((image) => !image.naturalWidth).map((i) => i.src)")
        == []
    )


@every_page(*MODES)
def test_every_formula_is_set(visit):
    formulas = visit.page.locator(".math")
    bare = formulas.evaluate_all("(all) => all.filter((one) => !one.querySelector('mjx-container mjx-math'))")
    assert len(bare) == 0
    assert visit.page.locator("mjx-merror").count() == 0


@every_page(*MODES)
def test_the_console_is_quiet(visit):
    assert [error for error in visit.errors if error != KNOWN_ERROR] == []


@every_page("light", "dark", "phone")
def test_axe_finds_nothing_but_the_themes_own(visit):
    assert visit.page.evaluate("document.documentElement.dataset.theme") == (
        "dark" if visit.mode == "dark" else "light"
    )
    rules = {"label-content-name-mismatch": {"enabled": True}}
    options = {"resultTypes": ["violations"], "rules": rules, "preload": False}  # which would ask for files
    results = Axe().run(visit.page, options=options).response
    found = [
        f"{violation['id']}: {node['target']} {node['html'][:200]} {node['failureSummary']}"
        for violation in results["violations"]
        for node in violation["nodes"]
        if not (
            violation["id"] in THEMES_OWN and THEMES_OWN[violation["id"]].search(node["html"].split(">")[0])
        )
    ]
    assert not found, "\n".join(found)


@every_page("phone")
def test_a_phone_does_not_scroll_sideways(visit):
    width = MODES["phone"]["viewport"]["width"]
    assert visit.page.evaluate("document.scrollingElement.scrollWidth") <= width
    # what is wider scrolls within itself: nothing else sticks out, not even where the overflow is cut off
    cut = visit.page.evaluate(
        """(width) => [...document.querySelectorAll("article *")].filter((element) => {
            if (element.getBoundingClientRect().right <= width + 1) return false;
            if (!element.checkVisibility()) return false;
            for (let box = element.parentElement; box.tagName !== "ARTICLE"; box = box.parentElement)
                if (["auto", "scroll"].includes(getComputedStyle(box).overflowX)) return false;
            return true;
        }).map((element) => element.outerHTML.slice(0, 200))""",
        width,
    )
    assert cut == []


@every_page("light", "dark", "phone")
def test_a_picture_of_the_page_is_kept(visit):
    size = dict(visit.page.viewport_size)
    visit.page.set_viewport_size(size | {"height": STRIP})  # one picture of a whole chapter has holes
    height = visit.page.evaluate("document.scrollingElement.scrollHeight")
    for k in range(math.ceil(height / STRIP)):
        visit.page.evaluate(f"scrollTo({{top: {k * STRIP}, behavior: 'instant'}})")
        picture = PICTURES / f"{visit.name.replace('/', '-')}-{visit.mode}-{k + 1:02}.png"
        picture.parent.mkdir(exist_ok=True)
        visit.page.screenshot(path=picture)
        assert picture.stat().st_size > 10_000
    visit.page.set_viewport_size(size)


@every_page("light")
def test_the_keyboard_sees_where_it_is_and_stops_at_no_formula(visit):
    stops, page = [], visit.page
    page.evaluate("document.activeElement.blur()")
    for _ in range(2_000):
        page.keyboard.press("Tab")
        tag, seen, html = page.evaluate(
            """() => {
                for (const one of document.getAnimations()) one.finish();
                const at = document.activeElement, style = getComputedStyle(at);
                const ring = style.outlineStyle !== "none" || style.boxShadow.endsWith("0px 0px 0px 3px");
                return [at.tagName, ring && style.opacity === "1", at.outerHTML.slice(0, 200)];
            }"""
        )
        if tag == "BODY" or html in stops[:1]:  # once around
            break
        stops.append(html)
        assert seen, html
        assert not tag.startswith("MJX"), html
    else:
        pytest.fail("the keyboard does not come round")
    assert len(stops) > 20


@pytest.mark.parametrize("hand", ["keyboard", "finger"])
@pytest.mark.parametrize(("button", "dialog"), [("primary", "Set-up"), ("secondary", "1.2 What the model")])
def test_a_phones_menus_open_close_and_lead_on(contexts, server, hand, button, dialog):
    page = contexts["phone"].new_page()
    page.goto(f"{server}/notebooks/01_extraction.html")
    handle = page.locator(f"button.{button}-toggle")
    menu = page.locator(f"#pst-{button}-sidebar-modal")

    def open_it():
        handle.press("Enter") if hand == "keyboard" else handle.click()
        menu.wait_for(state="visible")

    open_it()
    page.keyboard.press("Escape")
    menu.wait_for(state="hidden")
    open_it()
    link = menu.get_by_role("link", name=dialog)
    address = link.evaluate("(link) => link.href")
    link.press("Enter") if hand == "keyboard" else link.click()
    page.wait_for_url(address)
    page.close()


@pytest.mark.parametrize("mode", ["light", "file"])
def test_the_search_finds_a_term_without_a_mouse_and_from_a_disk(contexts, server, mode):
    page = contexts[mode].new_page()
    page.goto(f"{SITE.as_uri() if mode == 'file' else server}/book/setup.html")
    page.keyboard.press("Control+k")
    page.keyboard.type("residual stream")
    page.keyboard.press("Enter")
    found = page.locator("#search-results a[href*='glossary.html']").first
    found.wait_for(timeout=15_000)
    found.press("Enter")
    page.wait_for_url("**/glossary.html*")
    page.close()


def sliders():
    """(page, id) of each slider of the built site."""
    for name in PAGES:
        if (file := SITE / f"{name}.html").is_file():
            for box in BeautifulSoup(file.read_text(), "html.parser").select(".steering-slider"):
                yield pytest.param((name, box["id"]), id=f"{name.split('/')[-1]}-{box['id']}")


def test_the_site_has_sliders():
    assert list(sliders()), f"no slider on any page below {SITE}; has make book run?"


@pytest.fixture(scope="module")
def slider(request, contexts, server):
    """The page with the slider of that id, and the slider."""
    name, element = request.param
    visit = Visit(name, "light", contexts["light"].new_page()).open(f"{server}/{name}.html")
    visit.page.wait_for_load_state("networkidle")  # the favicon is asked for late, and is no move's request
    yield visit, visit.page.locator(f"#{element}")
    visit.page.close()


every_slider = pytest.mark.parametrize("slider", list(sliders()), indirect=True, scope="module")
CONTROLS = "input[type=range], select"


def words(text):
    """The text with every run of white space made one space."""
    return " ".join(text.split())


def check(box):
    """The output says what the table's row for the present setting says; gives what is shown and said."""
    chosen = box.locator(CONTROLS).evaluate_all("(all) => all.map((control) => control.value)")
    row = box.locator(f"tbody tr[data-setting='{','.join(chosen)}']")
    cells = row.evaluate("(row) => [...row.cells].map((cell) => cell.textContent)")
    output = words(box.locator("output").text_content())
    assert len(cells) > len(chosen)
    for cell in cells[len(chosen) :]:
        assert words(cell) in output
    said = box.locator("input[type=range]").evaluate_all("(all) => all.map((one) => one.ariaValueText)")
    numbers = box.locator("input[type=range]").evaluate_all("(all) => all.map((one) => one.value)")
    assert all(said)
    return output, list(zip(numbers, said, strict=True))


@every_slider
def test_the_arrow_keys_home_and_end_move_it(slider):
    visit, box = slider
    before = len(visit.requested)
    assert box.locator("input[type=range]").count() >= 1
    for k, control in enumerate(box.locator("input[type=range]").all()):
        last = int(control.get_attribute("max"))
        assert (
            control.get_attribute("data-lm-suppress-shortcuts") is not None
        )  # JupyterLab eats the keys else
        heard, shown = {}, set()
        control.focus()
        for key, value in [("End", last), ("ArrowLeft", last - 1), ("Home", 0), ("ArrowRight", 1)]:
            visit.page.keyboard.press(key)
            output, said = check(box)
            assert said[k][0] == str(value)
            heard[value] = said[k][1]
            shown.add(output)
        assert len(set(heard.values())) == len(heard) == len({last, last - 1, 0, 1})
        assert len(shown) > 1
    assert len(visit.requested) == before
    assert [error for error in visit.errors if error != KNOWN_ERROR] == []


@every_slider
def test_a_click_and_a_drag_move_it(slider):
    visit, box = slider
    before = len(visit.requested)
    for k, control in enumerate(box.locator("input[type=range]").all()):
        last = control.get_attribute("max")
        control.scroll_into_view_if_needed()
        size = control.bounding_box()
        near, far = ({"x": x, "y": size["height"] / 2} for x in (3, size["width"] - 3))
        control.click(position=far)
        at_the_end = check(box)
        control.click(position=near)
        at_the_start = check(box)
        control.drag_to(control, source_position=near, target_position=far)
        assert check(box) == at_the_end != at_the_start
        assert (at_the_start[1][k][0], at_the_end[1][k][0]) == ("0", last)
        assert at_the_start[1][k][1] != at_the_end[1][k][1]
    for menu in box.locator("select").all():
        for index in range(menu.locator("option").count()):
            menu.select_option(index=index)
            check(box)
    assert len(visit.requested) == before


@every_slider
def test_every_setting_shows_its_row_and_a_move_takes_no_longer_than_5_ms(slider):
    _, box = slider
    moves = box.evaluate(
        """(box, controls) => {
            const inputs = [...box.querySelectorAll(controls)], moves = [];
            for (let turn = 0; turn < 5; turn++) for (const row of box.querySelectorAll("tbody tr")) {
                const setting = row.dataset.setting.split(",");
                inputs.forEach((input, k) => { input.value = setting[k]; });
                const start = performance.now();
                inputs[0].dispatchEvent(new Event("input", {bubbles: true}));
                moves.push({
                    milliseconds: performance.now() - start,
                    output: box.querySelector("output").textContent,
                    cells: [...row.cells].slice(inputs.length).map((cell) => cell.textContent),
                });
            }
            return moves;
        }""",
        CONTROLS,
    )
    for move in moves:
        for cell in move["cells"]:
            assert words(cell) in words(move["output"])
    assert statistics.median(move["milliseconds"] for move in moves) <= 5


@every_slider
def test_all_settings_have_a_row(slider):
    _, box = slider
    sizes = box.locator(CONTROLS).evaluate_all(
        "(all) => all.map((one) => one.options?.length ?? +one.max + 1)"
    )
    rows = box.locator("tbody tr").evaluate_all("(rows) => rows.map((row) => row.dataset.setting)")
    wanted = [",".join(map(str, setting)) for setting in itertools.product(*map(range, sizes))]
    assert sorted(rows) == sorted(wanted)


@pytest.fixture(scope="module")
def unscripted(browser):
    """A context without JavaScript."""
    return browser.new_context(java_script_enabled=False)


@pytest.mark.parametrize("of_page", list(sliders()))
def test_without_scripts_the_whole_table_shows_and_no_dead_control(unscripted, server, of_page):
    name, element = of_page
    page = unscripted.new_page()
    page.goto(f"{server}/{name}.html")
    box = page.locator(f"#{element}")
    assert box.locator("tbody tr:visible").count() == box.locator("tbody tr").count() >= 2
    assert box.locator("input, select, output, details").count() == 0
    page.close()


def test_no_link_or_fragment_leads_nowhere():
    lychee = Path(sys.executable).with_name("lychee")
    pages = [file for file in SITE.rglob("*.html") if "_static" not in file.parts]  # those are templates
    assert pages
    run = subprocess.run(
        [lychee, "--offline", "--include-fragments", "--no-progress", *pages], capture_output=True, text=True
    )
    assert run.returncode == 0, run.stdout + run.stderr

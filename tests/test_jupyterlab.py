"""Sliders in JupyterLab itself: the arrow keys are theirs, and a notebook nobody trusts shows the table."""

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook, new_output

SQUARES = """from IPython.display import HTML
from steering_utils.pages.slider import Slider

def read(settings):
    return [{"square": one["x"] ** 2.0} for one in settings]

squares = Slider("Squares", {"x": [1, 2, 3, 4, 5]}, read)"""


def table():
    """What such a cell shows where there is no kernel."""
    names = {}
    exec(SQUARES, names)
    return names["squares"].table()


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """The address of a JupyterLab with one notebook to run and one that came from elsewhere."""
    folder = tmp_path_factory.mktemp("lab")
    cells = [new_code_cell(SQUARES), new_code_cell("squares"), new_code_cell("HTML(squares.table())")]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nbformat.write(new_notebook(cells=cells, metadata=kernel), folder / "own.ipynb")
    data = {"text/html": table(), "application/vnd.jupyter.widget-view+json": {"model_id": "gone"}}
    stored = new_code_cell("squares", execution_count=1, outputs=[new_output("display_data", data)])
    nbformat.write(new_notebook(cells=[stored], metadata=kernel), folder / "foreign.ipynb")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    own = {
        name: str(folder / name.lower()) for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "IPYTHONDIR")
    }
    options = ["--no-browser", "--allow-root", f"--ServerApp.port={port}", f"--ServerApp.root_dir={folder}"]
    options += ["--IdentityProvider.token=", "--LabApp.expose_app_in_browser=True", "--LabApp.news_url="]
    command = [sys.executable, "-m", "jupyterlab", *options]
    with (
        (folder / "log").open("w") as log,
        subprocess.Popen(command, env=os.environ | own, stdout=log, stderr=log) as server,
    ):
        address = f"http://127.0.0.1:{port}/lab"
        try:
            for _ in range(120):
                try:
                    urllib.request.urlopen(address)
                    break
                except urllib.error.URLError:
                    assert server.poll() is None, (folder / "log").read_text()
                    time.sleep(0.5)
            yield address
        finally:
            server.terminate()


@pytest.fixture
def opened(browser, lab):  # without a browser, JupyterLab need not start
    """A function that opens one of the notebooks and waits until its cells are there."""
    page = browser.new_page()

    def open_notebook(name):
        page.goto(f"{lab}/tree/{name}.ipynb")
        page.wait_for_selector(".jp-Notebook .jp-Cell", timeout=60_000)
        return page

    yield open_notebook
    page.close()


def test_arrow_keys_move_both_forms_and_not_the_notebook(opened):
    page = opened("own")
    page.evaluate("window.jupyterapp.shell.currentWidget.sessionContext.ready")  # a kernel is there
    page.evaluate("window.jupyterapp.commands.execute('notebook:run-all-cells')")
    live = page.locator(".widget-slider [role=slider]")
    built = page.locator(".steering-slider input[type=range]")
    live.wait_for(timeout=60_000)
    built.wait_for(timeout=60_000)
    cell = "window.jupyterapp.shell.currentWidget.content.activeCellIndex"
    for control, text in (
        (live, page.locator(".widget-html").last),
        (built, page.locator(".steering-slider output")),
    ):
        control.focus()
        before = page.evaluate(cell)
        for key, square in [("ArrowRight", 16), ("ArrowLeft", 9), ("ArrowUp", 16), ("ArrowDown", 9)]:
            page.keyboard.press(key)
            text.filter(has_text=f"+{square}.00").wait_for(timeout=10_000)
        assert page.evaluate(cell) == before


def test_a_notebook_that_nobody_trusts_shows_the_whole_table_and_no_dead_control(opened):
    page = opened("foreign")
    output = page.locator(".jp-OutputArea-output")
    output.locator("tbody tr").last.wait_for(timeout=30_000)
    assert output.locator("tbody tr:visible").all_text_contents() == [f"{x}+{x**2}.00" for x in range(1, 6)]
    assert output.locator("input, select, script, .widget-slider").count() == 0

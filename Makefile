# A fresh machine needs python3.11 or newer and nothing else. Everything is installed into .venv with the pins of
# constraints.txt, once; VENV=PATH puts it elsewhere.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
RUN := $(VENV)/.installed-run
DEV := $(VENV)/.installed-dev

.PHONY: quickstart test test-slow test-browser bench reproduce lint docs clean

quickstart: $(RUN)  ## set up, train the preset `quickstart`, write its report
	$(BIN)/memsweep run quickstart
	$(BIN)/memsweep report quickstart
	@echo "pictures: report/quickstart/figures/   page: report/quickstart/index.html"

test: $(DEV)  ## set up and pass the tests, under 6 minutes on 2 cores
	$(BIN)/python -m pytest -n 2 --dist loadgroup

test-slow: $(DEV)  ## what takes longer: kill tests at many moments, published figures
	$(BIN)/python -m pytest -m slow

test-browser: $(DEV)  ## the report's page in a headless Chromium; apt-get installs one where there is none
	@command -v chromium || command -v chromium-browser || command -v google-chrome || \
		(apt-get update && apt-get install -y --no-install-recommends chromium fonts-dejavu-core)
	$(BIN)/python -m pytest -m browser tests/browser

bench: $(DEV)  ## points a second, beside what a user would write instead
	$(BIN)/python tests/benchmarks/throughput.py

reproduce: $(RUN)  ## the published MNIST-1D figures: the benchmark table, and double descent at 15 % label noise
	$(BIN)/memsweep run mnist1d-benchmark
	$(BIN)/memsweep report mnist1d-benchmark
	$(BIN)/memsweep run mnist1d-double-descent
	$(BIN)/memsweep report mnist1d-double-descent

lint: $(DEV)  ## what CI checks besides the tests
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

docs: $(DEV)  ## write the generated parts of README.md and docs/ again
	$(BIN)/python -P tests/documents.py --write

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis *.egg-info

# pip, because uv and poetry do not find the CPU build of torch; an unpinned torch pulls gigabytes of CUDA.
$(RUN): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	touch $@

$(DEV): $(RUN)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

# A fresh machine needs python3.11 or newer and nothing else. Everything is installed into .venv with the pins of
# constraints.txt, once; VENV=PATH puts it elsewhere.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
RUN := $(VENV)/.installed-run
DEV := $(VENV)/.installed-dev
SITE := $(VENV)/.installed-docs
# Tests start dozens of interpreters, which would compile the same modules again each.
export PYTHONDONTWRITEBYTECODE :=
BENCHMARKS := throughput efficiency packing cohort_sizes split early_stopping measures replay scale
PRESETS := $(basename $(notdir $(wildcard sweeps/spec/presets/*.yaml)))

.PHONY: quickstart test test-slow test-bits test-soak test-browser coverage bench gpu reproduce lint docs site clean

quickstart: $(RUN)  ## set up, train the preset `quickstart`, write its report
	$(BIN)/memsweep run quickstart
	$(BIN)/memsweep report quickstart
	@echo "pictures: report/quickstart/figures/   page: report/quickstart/index.html"

test: $(DEV)  ## set up and pass the fast tests: about seven minutes on 2 cores
	$(BIN)/python -m pytest -n 2 --dist loadgroup --timeout 120

test-slow: $(DEV)  ## what takes longer, and every property of the fast tests on more examples: about 15 minutes
	$(BIN)/python -m pytest -n 2 --dist loadgroup -m '(slow or hypothesis) and not soak and not browser' \
		--timeout 600 --hypothesis-profile thorough

test-bits: $(DEV)  ## the slow tests of what the fast ones show on a part of the cases: what CI runs besides the fast ones
	$(BIN)/python -m pytest -n 2 --dist loadgroup -m slow --timeout 600 \
		--ignore=tests/contracts/test_hostile.py tests/contracts tests/memsweep \
		tests/lightning_modules tests/analysis/claims tests/sweeps/planning tests/sweeps/execution/test_early_stopping.py

test-soak: $(DEV)  ## fifty kills of each kind of process, published figures: more than an hour
	$(BIN)/python -m pytest -m soak --timeout 3600

coverage: $(DEV)  ## which lines the fast tests execute: a figure to read, not a gate
	$(BIN)/python -m pytest -n 2 --dist loadgroup --cov --cov-report term --timeout 360

test-browser: $(DEV)  ## the report's page in a headless Chromium; apt-get installs one where there is none
	@command -v chromium || command -v chromium-browser || command -v google-chrome || \
		(apt-get update && apt-get install -y --no-install-recommends chromium fonts-dejavu-core)
	$(BIN)/python -m pytest -m browser tests/browser

bench:  ## every benchmark: about 40 minutes; writes tests/benchmarks/results/, from which `make docs` makes tables
	@$(MAKE) --keep-going $(addprefix bench-,$(BENCHMARKS))

bench-%: $(DEV)  ## one benchmark, such as bench-throughput: points per second beside what a user would write instead
	$(BIN)/python tests/benchmarks/$*.py --save

gpu:  ## on a machine with a GPU and nothing installed: its tests and its benchmark, at most 25 minutes; WHEELS=FOLDER
	$(PYTHON) tests/gpu/run.py $(if $(WHEELS),--wheels $(WHEELS)) $(GPU_OPTIONS)

reproduce: $(RUN)  ## every preset and its report, then what the papers claim beside what was measured: under an hour
	@for preset in $(PRESETS); do $(BIN)/memsweep run $$preset && $(BIN)/memsweep report $$preset || exit 1; done
	$(BIN)/memsweep claims --out report/claims

lint: $(DEV)  ## what CI checks besides the tests
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

docs: $(DEV)  ## write the generated parts of README.md and docs/ again
	$(BIN)/python -P tests/documents.py --write

site: $(SITE)  ## the documentation and the docstrings of the Python API as pages: build/site/index.html
	$(BIN)/mkdocs build --quiet --strict -f .mkdocs.yml

clean:
	rm -rf $(VENV) build/site .pytest_cache .mypy_cache .ruff_cache .hypothesis *.egg-info

# pip, because uv and poetry do not find the CPU build of torch; an unpinned torch pulls gigabytes of CUDA.
$(RUN): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	touch $@

$(DEV): $(RUN)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

$(SITE): $(RUN)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[docs]'
	touch $@

# A fresh machine needs python3.11 or newer and nothing else. Everything is installed into .venv with the pins of
# constraints.txt, once; VENV=PATH puts it elsewhere.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
RUN := $(VENV)/.installed-run
DEV := $(VENV)/.installed-dev
PRESETS := $(basename $(notdir $(wildcard sweeps/spec/presets/*.yaml)))

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

bench: $(DEV)  ## points a second, beside what a user would write instead; what measures, 100,000 points and replays cost
	$(BIN)/python tests/benchmarks/throughput.py
	$(BIN)/python tests/benchmarks/measures.py
	$(BIN)/python tests/benchmarks/replay.py
	$(BIN)/python tests/benchmarks/early_stopping.py
	$(BIN)/python tests/benchmarks/scale.py

reproduce: $(RUN)  ## every preset and its report, then what the papers claim beside what was measured: under an hour
	@for preset in $(PRESETS); do $(BIN)/memsweep run $$preset && $(BIN)/memsweep report $$preset || exit 1; done
	$(BIN)/memsweep claims --out report/claims

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

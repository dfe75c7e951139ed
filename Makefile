# One verb each: dev, check, test, demo, bench, docs, clean. Each sets up what it needs.
# Needs Python 3.11 or newer (with pip and venv), make and a C++ compiler; all else is installed
# into .venv. Another interpreter: make test PYTHON=python3.13

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.hwnas-dev
# Headers that the native switcher is built with; CMake looks there. Where they cannot be had,
# hwnas is built without it, and says so; with HWNAS_REQUIRE_NATIVE=1 that is an error.
NATIVE := $(VENV)/native-deps
SWITCHER := $(if $(filter 1,$(HWNAS_REQUIRE_NATIVE)),ON,AUTO)
PIP := $(BIN)/python -m pip
INSTALL := $(PIP) install --quiet --constraint constraints.txt

# ONNX Runtime sends telemetry by default and measures slower with it.
export ORT_DISABLE_TELEMETRY := 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_NO_PYTHON_VERSION_WARNING := 1
# The scripts that recipes call see the environment's commands first.
export PATH := $(CURDIR)/$(BIN):$(PATH)
# A tree on the path would hide the installed package.
unexport PYTHONPATH

BUILD_INPUTS := pyproject.toml constraints.txt CMakeLists.txt hwnas/_version.py \
	$(shell find hwnas/runtime/cpp third_party -type f 2>/dev/null)

.PHONY: help dev check test test-board demo bench bench-switching bench-prediction bench-ofa \
	bench-search docs clean
.DELETE_ON_ERROR:

help:
	@echo "make dev        set up .venv with hwnas, editable, and its tools"
	@echo "make check      ruff, mypy, import-linter"
	@echo "make test       all tests that need this machine alone"
	@echo "make test-board tests on an emulated aarch64 board, by ssh and adb; needs root and Debian"
	@echo "make demo       the whole path on the digits example, into build/demo"
	@echo "make bench      all of: bench-switching, bundles against static sessions (NETS=\"t12 cnn\");"
	@echo "                bench-prediction, predictions against measurements (SPACES=\"vit\");"
	@echo "                bench-ofa, exact selection against the once-for-all authors' search;"
	@echo "                bench-search, LINAS and NSGA-II against random search"
	@echo "make docs       regenerate docs/cli.md from the commands' help"
	@echo "make clean      remove what was built (.venv stays)"

dev: $(STAMP)

$(STAMP): $(BUILD_INPUTS)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "error: $(PYTHON) is not Python 3.11 or newer; run: make PYTHON=python3.11" >&2; exit 1; }
	@[ -x $(BIN)/python ] || { echo "[1/5] $(VENV): a virtual environment"; \
		$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 1; }; }
	@echo "[2/5] pip and the build tools"
	@$(INSTALL) --upgrade pip
	@$(INSTALL) --group build
	@echo "[3/5] headers of the native switcher"
	@bash third_party/fetch-headers.sh $(NATIVE) || true
	@echo "[4/5] hwnas and its dependencies (torch is large: minutes on a first run)"
	@$(INSTALL) --no-build-isolation --config-settings=cmake.define.HWNAS_WERROR=ON \
		--config-settings=cmake.define.HWNAS_SWITCHER=$(SWITCHER) --editable '.[examples,ofa,search]'
	@$(BIN)/hwnas config --libs >/dev/null 2>&1 || echo "note: built without the native switcher," \
		"as its headers were not found; bundles run through the Python one"
	@echo "[5/5] the developer tools"
	@$(INSTALL) --group dev
	@$(INSTALL) --no-deps --group oracle
	@touch $@

check: $(STAMP)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

test: $(STAMP)
	$(BIN)/pytest $(PYTEST_ARGS)

test-board: $(STAMP)
	$(BIN)/python tests/board/run.py

demo: $(STAMP)
	bash examples/digits/demo.sh build/demo

# Each runs whatever the others find; the first that misses a goal is the result.
bench: $(STAMP)
	@$(BIN)/python benchmarks/bench_switching.py $(NETS); result=$$?; \
	$(BIN)/python benchmarks/bench_prediction.py $(SPACES) || result=$$?; \
	$(BIN)/python benchmarks/bench_ofa.py || result=$$?; \
	$(BIN)/python benchmarks/bench_search.py || result=$$?; exit $$result

bench-switching: $(STAMP)
	$(BIN)/python benchmarks/bench_switching.py $(NETS)

bench-prediction: $(STAMP)
	$(BIN)/python benchmarks/bench_prediction.py $(SPACES)

bench-ofa: $(STAMP)
	$(BIN)/python benchmarks/bench_ofa.py

bench-search: $(STAMP)
	$(BIN)/python benchmarks/bench_search.py

docs: $(STAMP)
	@mkdir -p docs build
	$(BIN)/python -m hwnas.cli.reference > build/cli.md
	@mv build/cli.md docs/cli.md

clean:
	rm -rf build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find hwnas profilers targets tests examples benchmarks -name __pycache__ -prune \
		-exec rm -rf {} + 2>/dev/null || true

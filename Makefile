# `make demo` and `make test` set up everything they need; `make check` is what must pass before a commit.
# Options: PYTHON=python3.12 (tested is 3.11), and TORCH_INDEX=https://download.pytorch.org/whl/cpu for PyTorch without CUDA.
PYTHON ?= python3
TORCH_INDEX ?=
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
LOCKED := $(PIP) --no-deps --require-hashes --only-binary :all:
# Leaves out of requirements.lock what only PyTorch for CUDA needs, each with its hashes.
WITHOUT_CUDA := /^[^ ]/ {skip = /^(nvidia|cuda|triton)/} skip {next}
# The tests of a file stay together, as they share fixtures that train and mask; the longest files are begun first.
PYTEST := $(BIN)/python -m pytest --numprocesses auto --maxprocesses 8 --dist loadfile --no-loadscope-reorder
INSTALLED := .venv/installed
DEMO := demo
MODULE ?=
COUNT ?= 3
SEED ?= 0
UPGRADE ?=
MINUTES ?= 60

.PHONY: demo test test-all coverage mutants fuzz gpu check format docs lock

demo: $(INSTALLED)
	rm -rf $(DEMO)/data $(DEMO)/run $(DEMO)/pred
	$(BIN)/python -m kaggle_tools demo-data $(DEMO)/data
	$(BIN)/python train.py --data $(DEMO)/data --out $(DEMO)/run --preset demo --fold 0
	$(BIN)/python infer.py $(DEMO)/run --data $(DEMO)/data --out $(DEMO)/pred
	$(BIN)/python submit.py $(DEMO)/pred --data $(DEMO)/data --dry-run
	$(BIN)/python -m kaggle_tools score $(DEMO)/pred/submission.csv $(DEMO)/data/hidden_truth.csv
	@echo "the submission: $(DEMO)/pred/submission.csv"
	@echo "the run:        $(DEMO)/run"
	@echo "pages to look at: $(DEMO)/run/report.html and $(DEMO)/pred/report.html"

# Everything that can fail for a reason in the code.
test: $(INSTALLED)
	$(PYTEST) -m "not slow"

# And what takes long: kills at random moments, two processes, every command of the docs, a wheel that is installed.
test-all: $(INSTALLED)
	$(PYTEST)

# Which lines no test runs; those that only processes of their own run are among them.
coverage: $(INSTALLED)
	$(PYTEST) --cov --cov-report=term-missing:skip-covered

# Bugs planted in a module, or in each, and those that its tests do not notice: make mutants MODULE=kaggle_tools/rle.py
mutants: $(INSTALLED)
	$(BIN)/python -m tests.mutants --count $(COUNT) --seed $(SEED) $(MODULE)

# Files with bytes changed, put in and taken out, to every reader; what is found is kept in tests/fuzz_corpus.
fuzz: $(INSTALLED)
	FUZZ_MINUTES=$(MINUTES) $(BIN)/python -m pytest -m slow tests/test_fuzz.py

# What only a GPU can show; without one, says so.
gpu: $(INSTALLED)
	$(BIN)/python -m pytest -m gpu

check: $(INSTALLED)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(MAKE) test-all

format: $(INSTALLED)
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

# The tables in docs/ that follow from the code.
docs: $(INSTALLED)
	$(BIN)/python -m docs.generate

# Renews requirements.lock, and constraints.txt from it, after a change of the two lists of requirements; with
# UPGRADE=--upgrade all of it in the newest versions. How, stands in pyproject.toml.
lock: $(INSTALLED)
	$(BIN)/uv --quiet pip compile requirements-dev.txt --output-file requirements.lock $(UPGRADE)
	( echo "# The versions in requirements.lock, without hashes and without what PyTorch brings for CUDA. Made by: make lock"; \
		awk '$(WITHOUT_CUDA) /==/ {sub(/ *\\$$/, ""); print}' requirements.lock ) >constraints.txt

# requirements.lock is complete, so nothing is resolved, and every file has its hash. What an index named by TORCH_INDEX
# serves has hashes of its own: PyTorch comes from there without, and the CUDA libraries that it may need from PyPI.
# Only touched when all of it went well, so that a broken installation is repeated.
$(INSTALLED): requirements.txt requirements-dev.txt requirements.lock constraints.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "error: $(PYTHON) is older than Python 3.11; name a newer one: make PYTHON=python3.12 …"; exit 1; }
	$(PYTHON) -m venv .venv
ifneq ($(TORCH_INDEX),)
	$(PIP) --no-deps --index-url $(TORCH_INDEX) -c constraints.txt torch torchvision
	awk '$(WITHOUT_CUDA) /^torch(vision)?==/ {skip = 1} !skip' requirements.lock >.venv/without-torch.lock
	$(LOCKED) -r .venv/without-torch.lock
	$(PIP) -c constraints.txt torch torchvision
else
	$(LOCKED) -r requirements.lock
endif
	$(PIP) --no-deps --no-build-isolation --editable .
	touch $@

# Two commands are enough on a fresh machine: `make demo` and `make test`.
# Choose another Python or another place for the environment: make test PYTHON=python3.12 VENV=/somewhere
PYTHON ?= python3
VENV ?= .venv
JOBS ?= 2
export OMP_NUM_THREADS ?= 1

BIN := $(VENV)/bin
READY := $(VENV)/.dense_lt_installed

.PHONY: help install demo table test test-slow lint format docs bench clean

help:
	@echo "make demo    install, draw the data, train and compare (DEMO=quick: a third of the time)"
	@echo "make test    install, run the tests"
	@echo "make lint    every static check"
	@echo "make docs    write every setting into docs/configuration.md"
	@echo "make bench   the benchmarks (long; quiet machine)"
	@echo "make table   train the README's table anew (18 runs of two minutes of CPU each)"

install: $(READY)

# lvis declares the GUI build of OpenCV, which overwrites the headless one and needs libGL: hence --no-deps.
# The registry's torch brings CUDA along; a disk that fills up halfway through gives only an OSError.
$(READY): pyproject.toml constraints.txt
	@free=$$(df -Pk . | awk 'NR == 2 {print int($$4 / 1048576)}'); [ "$$free" -ge 8 ] || \
		echo "only $$free GB are free here: the environment takes 6 GB, and 8 while it is made" >&2
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[dev]"
	$(BIN)/python -m pip install --quiet -c constraints.txt --no-deps lvis
	@touch $@

demo: $(READY)
	$(BIN)/dense-lt demo $(if $(filter quick,$(DEMO)),--quick) --jobs $(JOBS)

table: $(READY)
	$(BIN)/dense-lt demo --variants focal_prior_0.1 focal_prior_0.01 equalized_focal --seeds 0 1 2 --data-seeds 0 1 --out runs/table --jobs $(JOBS)

test: $(READY)
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile

test-slow: $(READY)
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile -m "slow"

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(READY)
	$(BIN)/python -m dense_lt.config.reference docs/configuration.md

bench: $(READY)
	$(BIN)/python benchmarks/loss_cpu.py
	$(BIN)/python benchmarks/loss_memory.py
	$(BIN)/python benchmarks/loss_sass.py
	$(BIN)/python benchmarks/train_step.py
	$(BIN)/python benchmarks/detectors.py
	$(BIN)/python benchmarks/evaluation.py

clean:
	rm -rf $(VENV) build *.egg-info .pytest_cache .ruff_cache .hypothesis .import_linter_cache

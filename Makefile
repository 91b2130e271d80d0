# Everything sets itself up: no target needs another one run before it.
.DEFAULT_GOAL := help
.PHONY: help setup demo notebook wheel test test-long test-py313 test-image mutants check bench lock clean
MAKEFLAGS += --no-print-directory
BIN := .venv/bin
RUN = demo/run
# A command's output, only if it fails.
quietly = { output=$$($(1) 2>&1) || { printf '%s\n' "$$output"; exit 1; }; }

help: ## what there is
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "make %-11s %s\n", $$1, $$2}' Makefile

setup: ## everything for developing, into .venv
	@setup/install.sh core volumes idc share dev

demo: ## phantom mammograms in, a report out: five minutes, no account, no GPU
	@setup/install.sh core
	@$(BIN)/medimg demo

notebook: setup ## a finished run's slices, history, statistics and lineage as a page: make notebook RUN=demo/run
	@MEDIMG_RUN='$(abspath $(RUN))' $(BIN)/jupyter-nbconvert --log-level ERROR --execute --to html notebooks/evaluate.ipynb --output-dir '$(RUN)' \
	  --template offline --TemplateExporter.extra_template_basedirs=notebooks/templates
	@echo "notebook: $(RUN)/evaluate.html"

wheel: ## the package for `pip install`, in dist/
	@setup/wheel.sh

# What needs TFX is dealt to two processes by file: each imports it once and holds a shared pipeline run of its own.
test: setup ## all tests; a part of them: make test TESTS=tests/unit
	@setup/kfp.sh .venv/kfp $(BIN)/python || echo "test: kfp's SDK is not to be had, so that the tests which need it skip" >&2
ifdef TESTS
	@$(BIN)/python -m pytest $(TESTS)
else
	@$(BIN)/python -m pytest -n 2 tests/unit tests/contract tests/faults
	@$(BIN)/python -m pytest -n 2 --dist loadfile tests/components tests/e2e
endif

test-long: setup ## the tests that `make test` leaves out: every kill, runs at once, Flink on two hosts (root for some)
	@$(BIN)/python -m pytest -m long tests

# Not for a machine that is on that platform by itself: there `make test` does it.
test-py313: ## the same tests on Python 3.13 and TFX 1.21, in a Debian trixie root (needs root and debootstrap); a part: TESTS=tests/unit
	@setup/trixie.sh make test $(if $(TESTS),TESTS='$(TESTS)')

test-image: setup ## the images, built and run as strangers would (needs docker, 20 GB, half an hour)
	@MEDIMG_TEST_IMAGE=1 $(BIN)/python -m pytest tests/e2e/test_image.py

mutants: setup ## how many small wrong changes a test notices; a part, or more: make mutants MUTANTS='--area catalogue --sample 300'
	@$(BIN)/python -m setup.mutants $(MUTANTS)

check: setup ## style, types, import rules, locks
	@echo "check: style" && $(call quietly,$(BIN)/ruff check .) && $(call quietly,$(BIN)/ruff format --check .)
	@echo "check: types" && $(call quietly,$(BIN)/mypy)
	@echo "check: shape" && $(call quietly,$(BIN)/python setup/shape.py --check)
	@echo "check: import rules" && $(call quietly,$(BIN)/lint-imports --no-logo)
	@echo "check: locks" && $(BIN)/python setup/locks.py
	@echo "check: passed"

bench: setup ## the benchmarks, one after the other; results on the terminal
	@for benchmark in benchmarks/bench_*.py; do echo "$$benchmark" && $(BIN)/python "$$benchmark" || exit 1; done

lock: ## requirements/*.lock and constraints-*.txt again from pyproject.toml
	@setup/lock.sh

clean: ## away with .venv, caches and the demo's output
	@rm -rf .venv .uv demo build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis *.egg-info
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

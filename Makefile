# Everything runs in .venv, which scripts/setup makes and keeps. Paths are relative, so a folder with spaces is fine.
# More for pytest:  make test ARGS='-k doctor -n 2'   (without -n by default: each worker imports torch again)

PY := .venv/bin/python
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help setup demo test check peers bench bench-quick clean

help: ## list these targets
	@awk 'BEGIN { FS = ":.*## " } /^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' Makefile

setup: ## make .venv with torch and Waystation; quick where nothing has changed
	@scripts/setup

demo: setup ## train and judge the built-in study, which knows its own answer
	@.venv/bin/waystation demo

test: setup ## run every test; skipped ones are listed with their reasons
	@$(PY) -m pytest $(ARGS)

check: setup ## ruff, mypy and the test of the import directions
	@$(PY) -m ruff check . scripts/setup
	@$(PY) -m mypy
	@$(PY) -m pytest -q tests/test_imports.py

peers: setup
	@$(PY) -c "import faiss, seqeval" 2>/dev/null || $(PY) -m pip install -q -c constraints.txt -e ".[bench]"

bench: peers ## speed and memory against named peers, 20 rounds a row: most of an hour on two idle cores
	@$(PY) -m benchmarks $(ARGS)

bench-quick: peers ## the same with few rounds of smaller batches, under five minutes
	@$(PY) -m benchmarks --quick $(ARGS)

clean: ## remove caches and build outputs; .venv and .waystation stay
	@rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis dist
	@find . -name .venv -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +

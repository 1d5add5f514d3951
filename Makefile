# `make report` and `make test` need nothing but Python 3.11+ and git: they make .venv first.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: report test test-all test-gpu lint format bench hashes clean

report: .venv/installed
	$(BIN)/archrank report --jobs -1

test: .venv/installed
	$(BIN)/pytest -n 2 --dist loadfile

test-all: .venv/installed
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e ".[dev,search,examples,ray]"
	$(BIN)/pytest -n 2 --dist loadfile -m "not gpu"

test-gpu: .venv/installed
	$(BIN)/pytest -m gpu

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: .venv/installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: .venv/installed
	$(BIN)/pytest benchmarks_speed --benchmark-only -m ""

# Writes the stored model hashes of BLOX again and prints their checksums, those of archrank/spaces/blox_hashes.py.
hashes: .venv/installed
	$(BIN)/python -c "from archrank.spaces.blox_hashes import STORED, store_digests; print({s: store_digests(s) for s in STORED})"

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e ".[dev,search,examples]"
	touch $@

clean:
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis

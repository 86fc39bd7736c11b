# `make demo` and `make test` need nothing but a Python of at least 3.11 and make.
PYTHON ?= python3
# What `make demo` runs; it finishes by printing where the report is.
DEMO = holdfast run colored-digits --seeds 5 \
  --method 'erm,group-dro:groups=label*color,balanced:groups=label*color,erm+dfr:groups=label*color,and-mask'

BIN := .venv/bin

.PHONY: demo test lint types reproduce docs bench clean

demo: .venv/.installed
	$(BIN)/$(DEMO)

test: lint types
	$(BIN)/pytest -q -n 2 --dist worksteal

lint: .venv/.installed-dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types: .venv/.installed-dev
	$(BIN)/mypy

reproduce: .venv/.installed
	$(BIN)/holdfast reproduce --all

docs: .venv/.installed-docs
	$(BIN)/mkdocs build --strict

bench: .venv/.installed-dev
	for script in benchmarks/*.py; do $(BIN)/python $$script || exit 1; done

clean:
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .hypothesis dist site

# One stamp for each set of extras: nothing is installed again until its two inputs change.
.venv/.installed: EXTRAS =
.venv/.installed-dev: EXTRAS = [dev]
.venv/.installed-docs: EXTRAS = [docs]
.venv/.installed .venv/.installed-dev .venv/.installed-docs: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.$(EXTRAS)'
	touch $@

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo 'holdfast needs Python 3.11 or newer: run make PYTHON=python3.11 (or newer)' >&2; exit 2; }
	$(PYTHON) -m venv .venv

# Everything runs in a virtual environment that the first command makes.
VENV ?= .venv
PYTHON ?= python3
BIN := $(VENV)/bin
PROJECTS := pyproject.toml adapters/text/pyproject.toml adapters/face/pyproject.toml adapters/api/pyproject.toml adapters/image/pyproject.toml constraints.txt

.PHONY: help demo test soak check format docs dist bench bench-full clean

help:  ## List the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: $(PROJECTS) | $(BIN)/python
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[demo]' -e adapters/text
	@touch $@

$(VENV)/.dev: $(PROJECTS) | $(BIN)/python
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[dev]' -e adapters/text -e adapters/face -e adapters/api -e adapters/image
	@touch $(VENV)/.demo $@

$(VENV)/.docs: $(PROJECTS) | $(BIN)/python
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[docs]'
	@touch $@

# In an environment of its own: cyclonedx-bom brings rfc3987-syntax, with which every import of jsonschema takes seconds.
$(VENV)/dist: $(PROJECTS)
	$(PYTHON) -m venv $@
	$@/bin/python -m pip install -q -c constraints.txt 'build>=1.2' 'twine>=6' 'cyclonedx-bom>=7'
	@touch $@

demo: $(VENV)/.demo  ## Upgrade a real text search, end to end, and write demo-out/report.html
	$(BIN)/embcompat demo

test: $(VENV)/.dev  ## Run every test
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "not soak"

soak: $(VENV)/.dev  ## Run the long tests
	$(BIN)/python -m pytest -m soak

check: $(VENV)/.dev  ## Lint, format, types, layers, dependencies
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.dev  ## Format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/.dev  ## Measure every benchmark at reduced sizes, about ten minutes, and print the results
	$(BIN)/python benchmarks/suite.py

bench-full: $(VENV)/.dev  ## Measure at the sizes of the docs' page and write it, two hours or more
	$(BIN)/python benchmarks/suite.py --full

docs: $(VENV)/.docs  ## Build the documentation into docs/_site; a warning is an error
	$(BIN)/python docs/make_cli_reference.py
	$(BIN)/python docs/make_project_pages.py
	$(BIN)/zensical build --strict --clean

dist: $(VENV)/dist  ## Build every sdist and wheel, reproducibly, into dist/, check them, and list what they bring
	.ci/dist $(VENV)/dist/bin/python

clean:  ## Remove what was built, and the virtual environment
	rm -rf $(VENV) build dist demo-out docs/_site .cache

# Everything happens in a virtual environment of its own, .venv; PYTHON says which Python makes it.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check

# What an installed roicy is made of: a change in any of it installs roicy anew.
SOURCES := pyproject.toml setup.py README.md LICENSE \
	$(shell find src -name '*.py' -o -name '*.pyx' -o -name '*.pxd' -o -name '*.h')

.PHONY: help demo test lint bench wheel clean
.DEFAULT_GOAL := help

help: ## say what the targets do
	@echo "roicy: make <target> [PYTHON=python3.12]"
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  \1\t\2/p' $(MAKEFILE_LIST) | expand -t 10

demo: $(VENV)/demo.stamp ## run the operators on a photo, draw what they make of it to roicy-demo/
	@$(BIN)/roicy demo

test: $(VENV)/test.stamp ## run all tests and the examples in the docstrings
	@$(BIN)/python -m pytest -q --doctest-modules --doctest-ignore-import-errors --pyargs roicy tests

lint: $(VENV)/lint.stamp ## check the style of Python, Cython and C, and the format of Python and C
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@PATH="$(CURDIR)/$(BIN):$$PATH" cython-lint src  # which runs pycodestyle by its name
	@find src -name '*.h' | xargs $(BIN)/clang-format --dry-run -Werror

bench: $(VENV)/bench.stamp ## race roicy against its peers; ARGS="--threads 2 --only pool_7x7", ARGS=--help
	@$(BIN)/python benchmarks/compare.py $(ARGS)

wheel: $(VENV)/build.stamp ## build the source distribution and the wheel into dist/
	@rm -rf build dist
	@$(BIN)/python -m build

clean: ## remove .venv and everything that was built
	rm -rf $(VENV) build dist src/*.egg-info .pytest_cache .ruff_cache .hypothesis
	find src -name '*.so' -delete
	find . -name __pycache__ -prune -exec rm -rf {} +

# Stamps: a second run installs nothing, unless something changed.

$(VENV)/made.stamp:
	@echo "making $(VENV) with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv $(VENV)
	@touch $@

# setuptools packs whatever build/ holds, files that are gone from src/ included: start from nothing.
$(VENV)/roicy.stamp: $(VENV)/made.stamp $(SOURCES)
	@echo "building and installing roicy (a minute or two)"
	@rm -rf build $(VENV)/wheel
	@$(PIP) wheel --no-deps --wheel-dir $(VENV)/wheel .
	@$(PIP) install --no-deps --force-reinstall $(VENV)/wheel/*.whl
	@touch $@

# demo, test, bench: the wheel with that extra; its dependencies are what is missing by now.
$(VENV)/demo.stamp $(VENV)/test.stamp $(VENV)/bench.stamp: $(VENV)/%.stamp: $(VENV)/roicy.stamp
	@echo "installing what roicy[$*] needs"
	@$(PIP) install "$$(echo $(VENV)/wheel/*.whl)[$*]"
	@touch $@

# The linters come from pyproject.toml's extra "lint", without building roicy.
$(VENV)/lint.stamp: $(VENV)/made.stamp pyproject.toml
	@echo "installing the linters"
	@$(BIN)/python -c "import tomllib; project = tomllib.load(open('pyproject.toml', 'rb'))['project']; \
		print(*project['optional-dependencies']['lint'], sep='\n')" > $(VENV)/lint.txt
	@$(PIP) install -r $(VENV)/lint.txt
	@touch $@

$(VENV)/build.stamp: $(VENV)/made.stamp
	@$(PIP) install build
	@touch $@

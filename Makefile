# Everything happens in a virtual environment of its own, .venv; PYTHON says which Python makes it.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check

# Nothing is compiled that nobody imports, where roicy is built neither: 0 says so to pip.
export PIP_NO_COMPILE := 0

# What an installed roicy is made of: a change in any of it installs roicy anew.
SOURCES := pyproject.toml setup.py README.md LICENSE \
	$(shell find src -name '*.py' -o -name '*.pyx' -o -name '*.pxd' -o -name '*.h' -o -name '*.cu' -o -name '*.cuh')

# make cuda-check: compute capabilities (10 * major + minor) by line of CUDA, with a virtual environment for each.
# CUDA 13 knows none below 7.5 any more.
CUDA_13 := 75 80 90 100
CUDA_12 := 70

.PHONY: help roicy demo test peers parity fuzz test-parallel lint types docs docs-links bench wheel cuda-environments cuda-check sanitize sanitize-cuda device device-dry bench-cuda clean
.DEFAULT_GOAL := help

help: ## say what the targets do
	@echo "roicy: make <target> [PYTHON=python3.12]"
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

roicy: $(VENV)/roicy.stamp ## build roicy and install it in .venv

demo: $(VENV)/demo.stamp ## run the operators on a photo, draw what they make of it to roicy-demo/
	@$(BIN)/roicy demo

# In as many processes as there are processors, and who is done takes tests of another's; ARGS=-n0 for one.
test: $(VENV)/test.stamp ## run all tests and the examples in the docstrings; ARGS="-k rotated"
	@$(BIN)/python -m pytest -q -n auto --dist worksteal --doctest-modules --doctest-ignore-import-errors --pyargs roicy tests $(ARGS)

peers: $(VENV)/test.stamp $(VENV)/peers.stamp ## install other implementations, with which make test compares then, too

parity: peers ## compare with other implementations, and print the worst differences
	@$(BIN)/python -m pytest -q tests/implementations/test_{peers,peers_pool,torchvision,onnx}.py $(ARGS)

fuzz: $(VENV)/test.stamp ## call everything with arguments of all kinds, keep what fails; ARGS="--minutes 60", ARGS=--help
	@PYTHONPATH=tests $(BIN)/python -m fuzz $(ARGS)

# Without tests of CUDA: there the kernels of a module's tests are put in the place of the CPU's, for all threads.
test-parallel: $(VENV)/test.stamp $(VENV)/parallel.stamp ## run each test in several Python threads at once; ARGS=tests/operators
	@$(BIN)/python -m pytest -q --parallel-threads=3 --hypothesis-profile=few -m "not slow" -k "not cuda" $(or $(ARGS),tests)

# In an environment of its own, which needs no roicy: it is there while that is built.
LINT := $(VENV)-lint/bin
lint: $(VENV)-lint/lint.stamp ## check the style of Python, Cython, C and CUDA, the format of all but Cython, and the workflow
	@$(LINT)/ruff check .
	@$(LINT)/ruff format --check .
	@PATH="$(CURDIR)/$(LINT):$$PATH" cython-lint src tests docs/embedding  # which runs pycodestyle by its name
	@find src -name '*.h' -o -name '*.cu' -o -name '*.cuh' | xargs $(LINT)/clang-format --dry-run -Werror
	@$(LINT)/zizmor --quiet --no-progress --offline .github/workflows

types: $(VENV)/types.stamp ## check the types of the package, and of typical uses of it, by mypy and pyright
	@$(BIN)/mypy
	@$(BIN)/pyright --pythonpath $(BIN)/python

# Warnings are errors; all builders share what Sphinx has read.
SPHINX := $(BIN)/python -m sphinx -q -W --keep-going -d docs/_build/doctrees

docs: $(VENV)/docs.stamp ## build the documentation into docs/_build/html, and run what its pages show
	@$(SPHINX) docs docs/_build/html
	@$(SPHINX) -b doctest docs docs/_build/doctest
	@echo "documentation: docs/_build/html/index.html"

docs-links: $(VENV)/docs.stamp ## look up every link of the documentation; needs the network
	@$(SPHINX) -b linkcheck docs docs/_build/links

bench: $(VENV)/bench.stamp ## race roicy against its peers; ARGS="--threads 2 --only pool_7x7", ARGS=--help
	@$(BIN)/python benchmarks/compare.py $(ARGS)

cuda-environments: ## what cuda-check compiles in; needs PyPI, and no roicy yet
	@$(MAKE) --no-print-directory $(VENV)-cuda13/made.stamp $(VENV)-cuda12/made.stamp

cuda-check: ## compile the CUDA kernels without a GPU; needs PyPI (ROICY_OFFLINE=1: leaves it out); ARGS=--common
ifeq ($(ROICY_OFFLINE),1)
	@echo "cuda-check left out: ROICY_OFFLINE=1"
else
	@$(MAKE) --no-print-directory $(VENV)-cuda13/roicy.stamp $(VENV)-cuda12/roicy.stamp
	@$(VENV)-cuda13/bin/python tests/cuda/cuda_check.py $(CUDA_13) $(ARGS)
	@$(VENV)-cuda12/bin/python tests/cuda/cuda_check.py $(CUDA_12) $(ARGS)
endif

# The kernels compiled with the assertions of checks.h and under gcc's sanitizers, in an environment of their own; a
# report ends the run. Left out: tests that need gigabytes, CUDA's (see sanitize-cuda), and what is marked plain_build.
# Python and NumPy are no part of it: what they never free is not looked for, and an allocation may fail.
ASAN := LD_PRELOAD="$$(gcc -print-file-name=libasan.so) $$(gcc -print-file-name=libubsan.so)" \
	UBSAN_OPTIONS=print_stacktrace=1 PYTHONMALLOC=malloc
sanitize: $(VENV)-sanitize/roicy.stamp ## run all tests on the CPU's kernels under gcc's address and undefined-behaviour sanitizers
	@$(ASAN) ASAN_OPTIONS=detect_leaks=0:abort_on_error=1:allocator_may_return_null=1 ROICY_BUILD=sanitize \
		$(VENV)-sanitize/bin/python -m pytest -q --capture=sys -m "not slow and not plain_build" -k "not cuda" \
		--doctest-modules --doctest-ignore-import-errors --pyargs $(or $(ARGS),roicy tests)
	@$(ASAN) ASAN_OPTIONS=leak_check_at_exit=0 PYTHONPATH=tests $(VENV)-sanitize/bin/python tests/package/leak_check.py

# Arrays are left where they are: the address sanitizer's fences stand closer than the tests' own.
SANITIZED_TESTS := tests/cuda/test_cuda_twins.py tests/cuda_host tests/cuda/test_cuda_arrays.py tests/promises/test_conventions.py
sanitize-cuda: $(VENV)/test.stamp ## run CUDA kernels on the processor under gcc's address and undefined-behaviour sanitizers
	@$(ASAN) ASAN_OPTIONS=detect_leaks=0 ROICY_HOST_FENCES= \
		ROICY_HOST_FLAGS="-O0 -g1 -fsanitize=address,undefined,float-cast-overflow -fno-sanitize-recover=all" \
		$(BIN)/python -m pytest -q --capture=sys -k cuda -m "not slow" $(SANITIZED_TESTS) $(ARGS)

# No network and no environment of its own: PY is a Python with CuPy, and torch with torchvision where they are there.
PY ?= python3
device: ## build, check and measure on the GPU at hand within eight minutes; PY=python3, LIMIT=470, OUT=build/device
	@PY="$(PY)" bash tests/cuda/device_session.sh

# CuPy itself, and the kernels as NVRTC compiles them, run by NumPy: minutes, and every access and barrier is checked.
device-dry: $(VENV)-cuda13/test.stamp ## run the tests of a GPU on a simulated one; needs PyPI; ARGS=tests/cuda/test_cuda_device.py
	@PYTHONPATH=tests $(VENV)-cuda13/bin/python -m pytest -q -n auto -W default -p simulated.plugin \
		$(or $(ARGS),tests/cuda/test_cuda_device.py)

bench-cuda: $(VENV)/roicy.stamp ## race roicy on a GPU against torchvision; needs CuPy in .venv; ARGS=--help
	@$(BIN)/python benchmarks/gpu.py $(ARGS)

wheel: $(VENV)/wheel.stamp ## build source distribution and wheel into dist/, and run all tests on the wheel as users get it
	@rm -rf build dist $(VENV)-wheel
	@$(BIN)/python -m build --outdir dist/built
	@PATH="$(CURDIR)/$(BIN):$$PATH" auditwheel repair --wheel-dir dist dist/built/*.whl  # with the OpenMP library
	@mv dist/built/*.tar.gz dist && rm -r dist/built
	@$(PYTHON) -m venv $(VENV)-wheel
	@$(VENV)-wheel/bin/python -m pip --quiet --disable-pip-version-check install "$$(echo dist/*.whl)[test]"
	@$(VENV)-wheel/bin/python tests/package/wheel_check.py dist/*.whl
	@rm -rf $(VENV)-wheel/outside && mkdir $(VENV)-wheel/outside && cp -r tests pyproject.toml $(VENV)-wheel/outside
	@cd $(VENV)-wheel/outside && ../bin/python -m pytest -q tests

clean: ## remove .venv, .venv-* and everything that was built
	rm -rf $(VENV) $(VENV)-* build dist src/*.egg-info .pytest_cache .ruff_cache .mypy_cache .hypothesis
	rm -rf docs/_build docs/_generated docs/api docs/gallery
	find src -name '*.so' -delete
	find . -name __pycache__ -prune -exec rm -rf {} +

# Before anything is made: is there what roicy is compiled with and runs on?
define check
command -v $(PYTHON) > /dev/null || { echo "roicy needs Python: no $(PYTHON) is found; PYTHON= names another" >&2; exit 1; }; \
$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	{ echo "roicy needs Python 3.11 or later, and $(PYTHON) is $$($(PYTHON) --version 2>&1): PYTHON=python3.12 names another" >&2; exit 1; }; \
set -- $${CC:-$$($(PYTHON) -c 'import sysconfig; print(sysconfig.get_config_var("CC") or "cc")')}; command -v "$$1" > /dev/null || \
	{ echo "roicy is compiled, and no $$1 is found: install gcc, or name another C compiler: CC=clang" >&2; exit 1; }
endef

# Stamps: a second run installs nothing, unless something changed.

$(VENV)/made.stamp:
	@$(check)
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

# demo, test: the wheel with that extra; its dependencies are what is missing by now.
$(VENV)/demo.stamp $(VENV)/test.stamp: $(VENV)/%.stamp: $(VENV)/roicy.stamp
	@echo "installing what roicy[$*] needs"
	@$(PIP) install "$$(echo $(VENV)/wheel/*.whl)[$*]"
	@touch $@

# What pyproject.toml's extra or group $(1) names, for an environment $(2), without building roicy.
define install
echo "installing what roicy[$(1)] names" && \
	$(2)/bin/python -c "import tomllib; given = tomllib.load(open('pyproject.toml', 'rb')); \
		print(*(given['project']['optional-dependencies'] | given['dependency-groups'])['$(1)'], sep='\n')" > $(2)/$(1).txt && \
	$(PIP) --python $(2)/bin/python install -r $(2)/$(1).txt $(3)
endef

$(VENV)/parallel.stamp $(VENV)/peers.stamp $(VENV)/bench.stamp $(VENV)/docs.stamp: $(VENV)/roicy.stamp
$(VENV)/parallel.stamp $(VENV)/peers.stamp $(VENV)/bench.stamp $(VENV)/docs.stamp $(VENV)/types.stamp $(VENV)/wheel.stamp: \
		$(VENV)/%.stamp: $(VENV)/made.stamp pyproject.toml
	@$(call install,$*,$(VENV))
	@touch $@

# Environments beside .venv need no pip of their own.
$(VENV)-lint/lint.stamp: pyproject.toml | $(VENV)/made.stamp
	@$(PYTHON) -m venv --without-pip $(VENV)-lint
	@$(call install,lint,$(VENV)-lint)
	@touch $@

# From a copy of the sources: build/ is the other wheel's.
$(VENV)-sanitize/roicy.stamp: $(SOURCES)
	@echo "building and installing roicy under the sanitizers (some minutes)"
	@$(check)
	@rm -rf $(VENV)-sanitize && $(PYTHON) -m venv $(VENV)-sanitize && mkdir $(VENV)-sanitize/source
	@cp -r pyproject.toml setup.py README.md LICENSE MANIFEST.in src $(VENV)-sanitize/source
	@find $(VENV)-sanitize/source -name '*.so' -delete
	@ROICY_BUILD=sanitize $(VENV)-sanitize/bin/python -m pip --quiet --disable-pip-version-check wheel \
		--no-deps --wheel-dir $(VENV)-sanitize/wheel $(VENV)-sanitize/source
	@$(VENV)-sanitize/bin/python -m pip --quiet --disable-pip-version-check install \
		"$$(echo $(VENV)-sanitize/wheel/*.whl)[test]"
	@touch $@

# Environments with CuPy, by the extras; and the same wheel in them, when it is built.
$(VENV)-cuda%/made.stamp: pyproject.toml | $(VENV)/made.stamp
	@echo "making $(VENV)-cuda$* with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv --without-pip $(VENV)-cuda$*
	@{ $(call install,cuda$*,$(VENV)-cuda$*,rich); } || \
		{ echo "CuPy could not be installed; where PyPI is out of reach, ROICY_OFFLINE=1 leaves this out"; exit 1; }
	@touch $@

$(VENV)-cuda%/roicy.stamp: $(VENV)-cuda%/made.stamp $(VENV)/roicy.stamp
	@$(PIP) --python $(VENV)-cuda$*/bin/python install --no-deps --force-reinstall $(VENV)/wheel/*.whl
	@touch $@

$(VENV)-cuda%/test.stamp: $(VENV)-cuda%/roicy.stamp
	@$(call install,test,$(VENV)-cuda$*)
	@touch $@

.PRECIOUS: $(VENV)-cuda%/made.stamp

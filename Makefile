# Each target makes what it needs: a virtual environment in .venv with the newest installed Python >= 3.11.
#   make train ARGS="--text my.txt --max-steps 500"      make test ARGS="-k attention"      make test PYTHON=python3.12

VENV ?= .venv
PYTHON ?=
TORCH ?=
ARGS ?=
BIN = $(VENV)/bin
# Tests of one file stay together: they share objects that are expensive to make.
PYTEST = $(BIN)/python -m pytest -n logical --maxprocesses 4 --dist loadfile
# These run compiled if Numba is installed, and are compared with PyTorch again without.
WITH_KERNELS = $(addprefix tests/parity/test_,gpt.py gpt_training.py operations.py optimizers.py benchmark.py)
PIP = $(BIN)/python -m pip --disable-pip-version-check
export MPLCONFIGDIR ?= $(abspath $(VENV))/matplotlib

.PHONY: help train test test-all torture parity lint check lessons docs clean
.DELETE_ON_ERROR:

help:
	@echo "make train    environment, install, train a GPT on functions of Python's standard library (one to two minutes)"
	@echo "make test     the fast tests, in three minutes (tests that are marked slow need make test-all)"
	@echo "make test-all every test but the long torture: ten minutes"
	@echo "make torture  kill runs hundreds of times, damage files thousands of times: writes the table of docs/reliability.md"
	@echo "make parity   the tests against PyTorch, which is installed if it is missing (200 MB to several GB)"
	@echo "make lint     ruff and mypy"
	@echo "make check    prove every gradient on this machine"
	@echo "make lessons  update the lessons in docs/ from the source and the measurements"
	@echo "make docs     the documentation as a site in site/, readable offline"
	@echo "make clean    remove the environment, the caches and site/; runs/ stays"

train: $(VENV)/.installed
	$(BIN)/handgrad train $(ARGS)

test: $(VENV)/.test
	$(PYTEST) -m "not slow" $(ARGS)

test-all: $(VENV)/.test
	$(PYTEST) $(ARGS)

torture: $(VENV)/.test
	$(PIP) install -qq --editable ".[mpi]" mpich
	$(BIN)/python -m pytest tests/reliability --torture --report docs/reliability.md $(ARGS)

parity: $(VENV)/.oracles
	@$(BIN)/python -c 'import sys, torch; sys.exit(not torch.__version__.startswith("2."))' 2>/dev/null \
		|| $(PIP) install -qq $(if $(TORCH),"$(TORCH)",--editable ".[parity]")
	HANDGRAD_REQUIRE_TORCH=1 $(PYTEST) tests/parity $(ARGS)
	HANDGRAD_REQUIRE_TORCH=1 HANDGRAD_BACKEND=numpy $(PYTEST) $(WITH_KERNELS) $(ARGS)

lint: $(VENV)/.lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

lessons: $(VENV)/.test
	$(BIN)/python scripts/lessons $(ARGS)

check: $(VENV)/.installed
	$(BIN)/handgrad check

# The variable suppresses a warning about MkDocs 2, which pyproject.toml excludes. Warnings end the build, but MkDocs
# would not count them with --quiet.
docs: $(VENV)/.docs
	@NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build >$(VENV)/docs.log 2>&1 \
		|| { grep -v "^INFO" $(VENV)/docs.log >&2; exit 1; }
	@echo "open $(abspath site/index.html)"

clean:
	rm -rf site $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(VENV)/.made:
	@python="$(PYTHON)"; [ -n "$$python" ] || python=$$(sh scripts/find-python) || exit 1; \
		"$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
			|| { echo "handgrad: PYTHON=$$python is not Python 3.11 or newer" >&2; exit 1; }; \
		echo "making $(VENV) with $$python ($$("$$python" --version 2>&1))"; \
		"$$python" -m venv $(VENV)
	@touch $@

# Numba compiles the kernels; if it has no wheel, everything works without it, only slower.
$(VENV)/.installed: pyproject.toml | $(VENV)/.made
	@echo "installing handgrad into $(VENV)"
	@$(PIP) install -qq --editable .
	@$(PIP) install -qq --only-binary :all: --editable ".[fast]" 2>$(VENV)/numba.log \
		|| echo "Numba was not installed, most likely because it has no wheel for this Python or machine ($(VENV)/numba.log says): handgrad runs on NumPy alone, more slowly, with the same results"
	@touch $@

$(VENV)/.test: $(VENV)/.installed
	@$(PIP) install -qq --editable ".[test]"
	@touch $@

$(VENV)/.oracles: $(VENV)/.test
	@$(PIP) install -qq --editable ".[oracles]"
	@touch $@

$(VENV)/.docs: $(VENV)/.installed
	@$(PIP) install -qq --editable ".[docs]"
	@touch $@

$(VENV)/.lint: $(VENV)/.installed
	@$(PIP) install -qq --editable ".[lint]"
	@touch $@

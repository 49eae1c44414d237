# Every target sets up .venv first (scripts/setup.py); the second time that takes no time.
# Another Python: make PYTHON=python3.12 test

PYTHON ?= python3
RUN := .venv/bin/python -m
STEELYARD := OMP_WAIT_POLICY=passive .venv/bin/steelyard

.PHONY: setup demo test slow check bench clean

setup:
	@$(PYTHON) scripts/setup.py

demo: setup
	@mkdir -p .steelyard
	$(STEELYARD) weigh examples/resumes/task.toml --home .steelyard --json .steelyard/resumes.json

test: setup
	$(RUN) pytest

slow: setup
	$(RUN) pytest -m slow

check: setup
	$(RUN) ruff check .
	$(RUN) ruff format --check .
	$(RUN) mypy

bench: setup
	@set -e; for script in bench/*.py; do echo "== $$script"; .venv/bin/python "$$script"; done

# .steelyard stays: what was measured there took time.
clean:
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist

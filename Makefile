# Every target sets up .venv first (scripts/setup.py); the second time that takes no time.
# Another Python: make PYTHON=python3.12 test

PYTHON ?= python3
RUN := .venv/bin/python -m
STEELYARD := .venv/bin/steelyard
BENCH := .venv/bin/python bench

.PHONY: setup demo test slow check bench clean

setup:
	@$(PYTHON) scripts/setup.py

demo: setup
	@mkdir -p .steelyard
	$(STEELYARD) weigh examples/resumes/task.toml --home .steelyard --json .steelyard/resumes.json

# Three at a time on two cores, a thread each: they wait for children and files too. Each takes
# a part of the files, so that what the tests of a file share is made once.
test: setup
	OMP_NUM_THREADS=1 $(RUN) pytest -n 3 --dist worksteal

slow: setup
	$(RUN) pytest -m slow

check: setup
	$(RUN) ruff check .
	$(RUN) ruff format --check .
	$(RUN) mypy

# The peers come on top of .venv; every script is run in its small version.
bench:
	@$(PYTHON) scripts/setup.py bench
	$(BENCH)/coverage.py --simulations 20
	$(BENCH)/answering.py --small
	$(BENCH)/training.py --small
	$(BENCH)/verdict.py --small
	$(BENCH)/ingest.py --small
	$(BENCH)/serving.py --small
	$(BENCH)/llama_engine.py --small

# .steelyard stays: what was measured there took time.
clean:
	rm -rf .venv .venv-litellm .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist

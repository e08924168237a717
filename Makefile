# Two commands: `make demo` and `make test`. Each makes its own environment in .venv, and nothing outside it.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test check format docs clean

$(VENV)/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25'
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[train,demo,dev]'
	touch $@

demo: $(VENV)/ready
	$(BIN)/svfit run examples/tickets/tickets.toml
	$(BIN)/svfit predict --quiet --format table runs/tickets/bundle \
	  "the pump on line 3 is leaking again" \
	  "badge reader at gate 2 shows offline, nobody can clock in" \
	  "temperature transmitter TT-204 reads 40 degrees too high since the calibration"
	@echo "report: runs/tickets/report.html"

check: $(VENV)/ready
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

# A file's tests stay in one process, so that what they share is made once. One thread each: two processes fill two cores.
test: export OMP_NUM_THREADS = 1
test: check
	$(BIN)/python -m pytest -n 2 --dist loadfile
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "real or install"

format: $(VENV)/ready
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: $(VENV)/ready
	$(BIN)/python -m pipeline.cli.pages > docs/COMMANDS.md
	$(BIN)/python -m pipeline.cli.server_page > docs/SERVER.md
	$(BIN)/python tests/export/architecture_cases.py --write

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis

PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed
PACKAGE ?= iconify-json-2.2.535.tgz

.PHONY: demo demo-distill demo-continual test check faults mutants architecture pocket evidence-transfer evidence-distill evidence-continual clean

demo: $(INSTALLED)  ## from class names to a verdict on drawings by unseen teams, on the embedded world
	$(BIN)/holdfast demo

demo-distill: $(INSTALLED)  ## a small student for a style of picture that it never saw
	$(BIN)/holdfast demo distill

demo-continual: $(INSTALLED)  ## five tasks one after the other, and what was forgotten
	$(BIN)/holdfast demo continual

test: $(INSTALLED)  ## all tests, on two cores
	$(BIN)/python -m pytest -n 2 --dist loadfile

check: $(INSTALLED)  ## formatting, lint, types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/mypy tests/typed_use.py

faults: $(INSTALLED)  ## kill, cut, fill and spoil for real, and write docs/reliability.md; CASES="2 5" for some
	$(BIN)/python -W ignore -m tests.faults $(CASES)

mutants: $(INSTALLED)  ## change the code a little in many places and see what the tests notice
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev,mutants]'
	nice -n 10 $(BIN)/python tests/mutants.py $(MODULES)

architecture: $(INSTALLED)  ## the picture of docs/architecture.md and the tree of CONTRIBUTING.md, from the code
	$(BIN)/python docs/architecture.py

pocket: $(INSTALLED)  ## the embedded world (world/README.md) and its models, from the pinned package
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[world]'
	$(BIN)/python -m world --package $(PACKAGE)

evidence-transfer evidence-distill evidence-continual: $(INSTALLED)  ## docs/evidence/NAME.md, from five seeds; ARGS=--quick for a tiny one in build
	$(BIN)/python -m evidence.page $(@:evidence-%=%) $(ARGS)

$(INSTALLED): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

clean:
	rm -rf .venv build runs

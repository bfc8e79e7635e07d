PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed
PACKAGE ?= iconify-json-2.2.535.tgz

.PHONY: demo demo-distill demo-continual test check pocket evidence-transfer evidence-distill evidence-continual clean

demo: $(INSTALLED)  ## from class names to a verdict on real pictures, on the embedded world
	$(BIN)/holdfast demo

demo-distill: $(INSTALLED)  ## a small student for a style of picture that it never saw
	$(BIN)/holdfast demo distill

demo-continual: $(INSTALLED)  ## five tasks one after the other, and what was forgotten
	$(BIN)/holdfast demo continual

test: $(INSTALLED)  ## all tests
	$(BIN)/python -m pytest

check: $(INSTALLED)  ## formatting, lint, types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

pocket: $(INSTALLED)  ## make the embedded world of drawings and its models again, from the pinned package
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[world]'
	$(BIN)/python -m world --package $(PACKAGE)

evidence-transfer: $(INSTALLED)  ## docs/evidence/transfer.md, five seeds on three tasks
	$(BIN)/python evidence/transfer.py

evidence-distill: $(INSTALLED)  ## docs/evidence/distill.md, five seeds, two styles left out, two students
	$(BIN)/python evidence/distill.py

evidence-continual: $(INSTALLED)  ## docs/evidence/continual.md, five seeds on two orders of five tasks
	$(BIN)/python evidence/continual.py

$(INSTALLED): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

clean:
	rm -rf .venv build runs

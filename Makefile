# Each target makes the virtual environment that it needs and reuses one that fits.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
WORKERS ?= 2

# Scripts that record figures; the peers have a target of their own.
BENCHES = $(filter-out bench/peers.py,$(shell grep -l -w 'recorded.record' bench/*.py)) bench/fuzz_service.py

.PHONY: demo test lint format docs clean bench bench-peers acceptance faults faults-long supply
.DEFAULT_GOAL := test

$(VENV)/.ready: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable '.[dev,demo,explain,export,ray,review,serve,sleep,track,tune]'
	touch $@

demo: $(VENV)/.ready  ## train on real images with real pretrained weights, predict, submit, report
	$(BIN)/python demo/solar_cells.py

test: lint  ## lint, types, every test, coverage of core, decide and data/split
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal --cov --cov-report=
	$(BIN)/python tests/covered.py

lint: $(VENV)/.ready
	$(BIN)/ruff format --check src tests bench demo docs/generate.py
	$(BIN)/ruff check src tests bench demo docs/generate.py
	MYPY_NUM_WORKERS=$(WORKERS) $(BIN)/mypy
	$(BIN)/python tests/shape.py
	$(BIN)/python tests/unused.py

format: $(VENV)/.ready
	$(BIN)/ruff format src tests bench demo docs/generate.py
	$(BIN)/ruff check --fix src tests bench demo docs/generate.py

docs: $(VENV)/.ready  ## the documentation as a site, in site/; needs no network to build or to read
	$(BIN)/python -m pip install --quiet --editable '.[docs]'
	$(BIN)/python docs/generate.py
	$(BIN)/zensical build --strict

bench: $(VENV)/.ready  ## the measured figures of docs/benchmarks.md, one script after the other
	failed=; for script in $(BENCHES); do $(BIN)/python $$script || failed="$$failed $$script"; done; \
	test -z "$$failed" || { echo "these failed, or broke a bound:$$failed"; exit 1; }

bench-peers: $(VENV)/.ready  ## beside scikit-learn, timm, fastai, cleanvision and others, which are installed in .bench/peers
	$(BIN)/python bench/peers.py
	test -x .bench/peers/audit/bin/python || $(PYTHON) -m venv .bench/peers/audit
	.bench/peers/audit/bin/python -m pip install --quiet cleanvision imagededup
	$(BIN)/python bench/audit.py

acceptance: $(VENV)/.ready  ## reference systems on simulated data, as written against plus → docs/reference-systems.md; SEEDS=3 for the table
	$(BIN)/python -m bench.acceptance

faults: $(VENV)/.ready  ## faults, kills and hostile input: one table, in under half an hour on two cores
	$(BIN)/python -m bench.faults --minutes 28 --workers $(WORKERS)

faults-long: $(VENV)/.ready  ## every fault, 3,000 kills, a million images: hours; stopped, it goes on
	$(BIN)/python -m bench.faults --long --workers $(WORKERS)

supply: $(VENV)/.ready  ## licences, a bill of materials and known weaknesses of what Tapetum is built on, as a report
	$(BIN)/python bench/supply.py

clean:
	rm -rf $(VENV) .pytest_cache .ruff_cache .mypy_cache .hypothesis .bench runs dist site .cache

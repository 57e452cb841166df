# Each target makes the virtual environment that it needs and reuses one that fits.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
WORKERS ?= 2

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

bench: $(VENV)/.ready  ## the measured figures of docs/benchmarks.md
	$(BIN)/python bench/decide.py
	$(BIN)/python bench/large.py
	$(BIN)/python bench/gpu.py
	$(BIN)/python bench/context.py
	$(BIN)/python bench/folds.py
	$(BIN)/python bench/ordinal.py
	$(BIN)/python bench/labels.py
	$(BIN)/python bench/mask_faces.py
	$(BIN)/python bench/joint_head.py
	$(BIN)/python bench/engines.py
	$(BIN)/python bench/serve.py
	$(BIN)/python bench/fuzz_service.py
	$(BIN)/python bench/sequences.py
	$(BIN)/python bench/sleep_ladder.py
	$(BIN)/python bench/eeg_images.py
	$(BIN)/python bench/scale.py
	$(BIN)/python bench/simulate.py
	$(BIN)/python bench/ablate.py
	$(BIN)/python bench/regularisers.py
	$(BIN)/python bench/tune.py
	$(BIN)/python bench/budget.py
	OMP_NUM_THREADS=1 $(BIN)/python bench/engines.py
	OMP_NUM_THREADS=1 $(BIN)/python bench/training_speed.py
	$(BIN)/python bench/serve.py
	$(BIN)/python bench/fuzz_service.py

bench-peers: $(VENV)/.ready  ## beside scikit-learn, timm, fastai and torchvision's reference; fastai is installed in .bench/peers
	$(BIN)/python bench/peers.py

acceptance: $(VENV)/.ready  ## reference systems on simulated data, as written against plus → docs/reference-systems.md; SEEDS=3 for the table
	$(BIN)/python -m bench.acceptance

faults: $(VENV)/.ready  ## faults, kills and hostile input: one table, in under half an hour on two cores
	$(BIN)/python -m bench.faults --minutes 5 --workers $(WORKERS)

faults-long: $(VENV)/.ready  ## every fault, 3,000 kills, a million images: hours
	$(BIN)/python -m bench.faults --long --workers $(WORKERS)

supply: $(VENV)/.ready  ## licences, a bill of materials and known weaknesses of what Tapetum is built on, as a report
	$(BIN)/python bench/supply.py

clean:
	rm -rf $(VENV) .pytest_cache .ruff_cache .mypy_cache .hypothesis .bench runs dist site .cache

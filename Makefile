# The verbs of this project, for people. `.ci/run` uses the same ones.
PYTHON ?= .venv/bin/python

.PHONY: setup develop test lint format wheel fuzz faults mutants bench bench-quick bench-frames bench-kernel demo clean

setup:  ## an environment with everything, built in place
	python3 -m venv .venv
	$(PYTHON) -m pip install --quiet 'maturin>=1.16,<2'
	$(PYTHON) -m pip install --quiet '.[dev]'

develop:  ## rebuild the extension after a change in Rust
	VIRTUAL_ENV=$(abspath .venv) $(PYTHON) -m maturin develop --release

test:  ## all tests, Python and Rust
	$(PYTHON) -m pytest -n auto
	cargo test

lint:  ## style, types, stub
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m mypy
	$(PYTHON) -m mypy.stubtest margrave._core
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --quiet -- -D warnings

format:
	$(PYTHON) -m ruff check --fix .
	$(PYTHON) -m ruff format .
	cargo fmt --all

wheel:  ## build the wheel and try it in an environment of its own
	rm -rf target/wheel target/wheel-venv
	$(PYTHON) -m pip wheel --quiet --no-deps --wheel-dir target/wheel .
	python3 -m venv target/wheel-venv
	target/wheel-venv/bin/pip install --quiet target/wheel/margrave-*.whl
	cd target && wheel-venv/bin/margrave --version
	cd target && wheel-venv/bin/margrave demo --accounts 1000 --quiet
	cd target && wheel-venv/bin/python -c "import margrave; print(margrave.Rules.preset('hyperliquid'))"

fuzz:  ## 100,000 hostile calls of the public API (minutes)
	PYTHONPATH=tests $(PYTHON) -m fuzz.border --calls 100000 --seconds 3600 --seed 1

faults:  ## every system call under the output fails once, by each fault, and two runs race (a quarter of an hour; needs strace)
	PYTHONPATH=tests $(PYTHON) -m faults.race --rounds 1000
	PYTHONPATH=tests $(PYTHON) -m faults.loop

mutants:  ## break the core spot by spot, what no test catches is printed (hours; cargo install cargo-mutants)
	cargo mutants --package margrave-core

bench:  ## beside all peers at 1,000,000 accounts, answers first (minutes); everything: benches/run.sh
	cd benches && $(abspath $(PYTHON)) -m suite --set comparison --rounds 1 --out ../target/bench
	cd benches && $(abspath $(PYTHON)) -m targets ../target/bench/*-comparison.json

bench-quick:  ## each work beside the peers that matter most, 50,000 accounts (under a minute)
	cd benches && $(abspath $(PYTHON)) -m suite --set quick --out ../target/bench

bench-frames:  ## Margrave alone by size, ids, order, chunks and threads
	$(PYTHON) -m pytest benches/end_to_end.py

bench-kernel:  ## the Rust kernel alone
	cargo bench

demo:
	.venv/bin/margrave demo

clean:
	rm -rf target dist .venv

# Everything a desk does with the thermometer. `make help` lists it.
.DEFAULT_GOAL := help
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
MAKEFLAGS += --no-print-directory

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PY := $(BIN)/python
READY := $(VENV)/.installed

.PHONY: help
help:  ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

$(READY): requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "make: $(PYTHON) is older than 3.11; name a newer one: make PYTHON=python3.12"; exit 2; }
	@echo "setting up $(VENV) (once)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/pip --quiet --disable-pip-version-check install --require-hashes -r requirements.lock
	@touch $@

build/firmware/micropython-%.bin: firmware.lock | $(READY)
	@$(PY) -m tools.firmware > /dev/null
	@touch build/firmware/*.bin

FIRMWARES := build/firmware/micropython-1.27.0.bin

.PHONY: setup
setup: $(READY)  ## Set up the virtual environment (other targets do it themselves)

.PHONY: demo
demo: $(READY) $(FIRMWARES)  ## The whole scenario, from power-on to confirmed [FIRMWARE=app or combined image]
	@$(PY) -m tools.demo $(if $(FIRMWARE),--firmware "$(FIRMWARE)")

.PHONY: twin
twin: $(READY) $(FIRMWARES)  ## Power on one virtual device: SERIAL=… SERVER=http://… FLASH=build/….bin [RUNTIME=vm|cpython] [BOOTS=8]
	@$(PY) -m tools.twin --serial "$(SERIAL)" --server "$(SERVER)" --flash "$(FLASH)" $(if $(RUNTIME),--runtime "$(RUNTIME)") $(if $(BOOTS),--boots "$(BOOTS)")

.PHONY: server
server: $(READY) $(FIRMWARES)  ## Start the GadgetKeeper server [PORT=8080] [DATA=build/server]
	@$(PY) -m tools.server serve --port $(or $(PORT),8080) --data "$(or $(DATA),build/server)"

.PHONY: test
test: $(READY) $(FIRMWARES)  ## The whole suite
	@$(PY) -m pytest -n auto

.PHONY: test-cpython
test-cpython: $(READY) $(FIRMWARES)  ## What runs on CPython under shims
	@$(PY) -m pytest -n auto -m "not vm"

.PHONY: test-vm
test-vm: $(READY) $(FIRMWARES)  ## What runs on the real MicroPython VM
	@$(PY) -m pytest -n auto -m vm

.PHONY: powercut
powercut: $(READY)  ## Cut the power at every flash operation [STORY=… CUT="57:torn 3:clean" SEED=1 IMAGE_BYTES=20000 PAIRS=2400 VM=120]
	@$(PY) -m tools.powercut $(if $(STORY),--story "$(STORY)") $(foreach cut,$(CUT),--cut $(cut)) $(if $(SEED),--seed "$(SEED)") \
	  $(if $(IMAGE_BYTES),--image-bytes "$(IMAGE_BYTES)") $(if $(PAIRS),--pairs "$(PAIRS)") $(if $(CUT)$(STORY),,--vm $(or $(VM),120) --picture docs/powercut.svg)

.PHONY: mutants
mutants: $(READY)  ## Make mistakes in copies of the agent and show that the proof notices each
	@$(PY) -m tools.mutants

.PHONY: fuzz
fuzz: $(READY) $(FIRMWARES)  ## Throw generated images, signatures, bodies and files at the agent [CASES=100000 SEED=1 ONLY=heads]
	@$(PY) -m tools.fuzz $(if $(CASES),--cases "$(CASES)") $(if $(SEED),--seed "$(SEED)") $(if $(ONLY),--only "$(ONLY)")

.PHONY: fleet
fleet: $(READY)  ## Let many thermometers come back at once, with jitter and without [N=1000 SEED=1]
	@$(PY) -m tools.fleet --n "$(or $(N),1000)" --seed "$(or $(SEED),1)" --picture docs/fleet.svg

.PHONY: lint
lint: $(READY)  ## Format, lint, and types against the boards' stubs
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@rm -rf build/stubs && mkdir -p build/stubs
	@cp "$$($(PY) -c 'import sysconfig; print(sysconfig.get_path("purelib"))')"/*.pyi build/stubs/
	@$(BIN)/mypy --custom-typeshed-dir "$$($(PY) -c 'import sysconfig; print(sysconfig.get_path("purelib"))')"

.PHONY: lock
lock: $(READY)  ## Pin the packages of pyproject.toml anew (needs uv)
	@UV_CUSTOM_COMPILE_COMMAND="make lock" uv pip compile -q --universal --generate-hashes --python-version 3.11 pyproject.toml -o requirements.lock

.PHONY: clean
clean:  ## Remove what was built (the virtual environment and the firmware cache stay)
	@find build -mindepth 1 -maxdepth 1 ! -name firmware -exec rm -rf {} + 2>/dev/null || true

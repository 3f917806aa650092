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
THERMOMETER := $(PY) -m tools.thermometer

.PHONY: help
help:  ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

$(READY): requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "make: $(PYTHON) is older than 3.11; name a newer one: make PYTHON=python3.12"; exit 2; }
	@echo "setting up $(VENV) (once)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/pip --quiet --disable-pip-version-check install --require-hashes -r requirements.lock
	@$(BIN)/pip --quiet --disable-pip-version-check install --no-deps --no-build-isolation --no-index --editable .
	@touch $@

build/firmware/micropython-%.bin: firmware.lock | $(READY)
	@$(PY) -m tools.firmware > /dev/null
	@touch build/firmware/*.bin

FIRMWARES := build/firmware/micropython-1.27.0.bin

.PHONY: setup
setup: $(READY)  ## Set up the virtual environment (other targets do it themselves)

# What people type reaches the programs through the environment, where neither make nor the shell looks into it. But what
# stands on make's own command line has been expanded by then: `$` there is refused, and a password is refused at all.
typed = $(if $(filter command,$(origin $(1))),$(if $(findstring $$,$(value $(1))),$(error $(1) holds $$, which make expands. As you typed it, it arrives with: $(BIN)/thermometer $@ --help)))
secret = $(if $(filter command,$(origin $(1))),$(error $(1) on the command line is changed by make and stands in the list of processes. Put it in front, $(1)=… make $@, or: $(BIN)/thermometer $@ --help))
option = $(call typed,$(2))$(if $(value $(2)),--$(1)="$$$(2)")
needed = $(call typed,$(2))--$(1)="$${$(2):-}"
chosen = $(if $(filter-out 0,$(value $(2))),--$(1))

.PHONY: demo
demo: $(READY) $(FIRMWARES)  ## The whole scenario, from power-on to confirmed [FIRMWARE=app or combined image]
	@$(THERMOMETER) demo $(call option,firmware,FIRMWARE)

.PHONY: twin
twin: $(READY) $(FIRMWARES)  ## Power on one virtual device: SERIAL=… SERVER=http://… FLASH=build/….bin, or IMAGE=build/….bin [SETUP=8090, where its owner's page is] [RUNTIME=vm|cpython] [BOOTS=8]
	@$(THERMOMETER) twin $(if $(value IMAGE),$(call option,image,IMAGE),$(call needed,serial,SERIAL) $(call needed,server,SERVER)) \
	  $(if $(value FLASH)$(value IMAGE),$(or $(call option,flash,FLASH),--flash=build/twin.bin),$(call needed,flash,FLASH)) $(call option,runtime,RUNTIME) $(call option,boots,BOOTS) \
	  $(call option,setup,SETUP)

# What makes a thermometer.
ORDER = $(call secret,WIFI_PASSWORD)$(call secret,GADGETKEEPER_PASSWORD)$(call needed,server,SERVER) $(call option,firmware,FIRMWARE) $(call option,app,APP) \
  $(call option,wifi-ssid,WIFI_SSID) $(call option,wifi-password-file,WIFI_PASSWORD_FILE) $(call option,bootloader,BOOTLOADER) $(call option,ca,CA) \
  $(call option,signing-key,SIGNING_KEY) $(call option,version-id,VERSION_ID) $(call option,config,CONFIG) $(call option,flash-size,FLASH_SIZE) \
  $(call option,password-file,PASSWORD_FILE) $(call chosen,allow-localhost,ALLOW_LOCALHOST)

.PHONY: factory
factory: $(READY) $(FIRMWARES)  ## Make a flash image: SERIAL=… SERVER=http://… OUT=build/….bin [WIFI_SSID=… WIFI_PASSWORD_FILE=…] [FIRMWARE=….bin] [APP=folder] [BOOTLOADER=….bin] [CA=….pem] [SIGNING_KEY=….pem] [VERSION_ID=…] [CHECK=0] [CONFIG=….json] [FLASH_SIZE=4MB] [ALLOW_LOCALHOST=1]
	@$(THERMOMETER) factory $(call needed,serial,SERIAL) $(ORDER) $(call needed,out,OUT) $(if $(filter 0,$(value CHECK)),--no-check)

BOARD = $(call needed,port,PORT) $(call option,baud,BAUD) $(call chosen,erase,ERASE) $(call chosen,reuse,REUSE) $(RECORDING)
RECORDING = $(call option,record,RECORD)

.PHONY: flash
flash: $(READY)  ## Write a flash image to a board: PORT=/dev/ttyUSB0 IMAGE=build/….bin [ERASE=1] [BAUD=460800] [REUSE=1] [RECORD=manufacturing.jsonl]
	@$(THERMOMETER) flash $(call needed,image,IMAGE) $(BOARD)

.PHONY: batch
batch: $(READY) $(FIRMWARES)  ## Register serial numbers, make an image for each, and labels: SERIALS=….csv OUT=build/batch, the rest as for factory [COLUMN=serial] [PRODUCT=…] [PASSWORD_FILE=…] [REGISTER=0] [NEW_SECRETS=1] [RECORD=manufacturing.jsonl]
	@$(THERMOMETER) batch $(call needed,serials,SERIALS) $(ORDER) $(call needed,out,OUT) $(call option,column,COLUMN) $(call option,product,PRODUCT) \
	  $(if $(filter 0,$(value REGISTER)),--no-register) $(call chosen,new-secrets,NEW_SECRETS) $(RECORDING)

.PHONY: flash-batch
flash-batch: $(READY)  ## Write a batch's next image to a board: PORT=/dev/ttyUSB0 BATCH=build/batch [COUNT=1] [ERASE=1] [BAUD=460800] [REUSE=1] [RELEASE=serial of a lost board] [RECORD=manufacturing.jsonl]
	@$(THERMOMETER) $(if $(value RELEASE),release $(call needed,serial,RELEASE) $(RECORDING),flash-batch $(call needed,batch,BATCH) $(call option,count,COUNT) $(BOARD))

.PHONY: publish
publish: $(READY) $(FIRMWARES)  ## Publish a release: VERSION=2 [FIRMWARE=….bin, a MicroPython or a release] [APP=folder] [SIGNING_KEY=….pem] [SIGN_COMMAND=…] [TARGET=1] [DESCRIPTION=…] [TEMPLATE=…] [SERVER=…] [SERVER_CA=….pem] [PASSWORD_FILE=…] [FLASH_SIZE=4MB]; what it changes on devices: [KEYS="….pem …"] [CA=….pem] [NEW_SERVER=https://…] [FLOOR=2] [YES=1]
	@$(THERMOMETER) publish $(call secret,GADGETKEEPER_PASSWORD)$(call needed,version,VERSION) $(call option,firmware,FIRMWARE) $(call option,app,APP) \
	  $(call option,description,DESCRIPTION) $(call option,template,TEMPLATE) $(call chosen,target,TARGET) $(call option,flash-size,FLASH_SIZE) \
	  $(call option,signing-key,SIGNING_KEY) $(call option,sign-command,SIGN_COMMAND) $(call option,password-file,PASSWORD_FILE) \
	  $(call typed,KEYS)$(if $(value KEYS),--keys $$KEYS) $(call option,ca-for-devices,CA) $(call option,new-server,NEW_SERVER) $(call option,floor,FLOOR) \
	  $(call option,server,SERVER) $(call option,ca,SERVER_CA) $(call chosen,yes,YES)

.PHONY: deploy
deploy: $(READY) $(FIRMWARES)  ## Put the agent onto a board that runs MicroPython: PORT=… [TOOL=mpremote|ampy] [SOURCE=1] [RESET=0] [FORCE=1]
	@$(THERMOMETER) deploy $(call needed,port,PORT) $(call option,tool,TOOL) $(if $(filter 1,$(SOURCE)),--source) \
	  $(if $(filter 0,$(RESET)),--no-reset) $(if $(filter 1,$(FORCE)),--force)

.PHONY: status
status: $(READY)  ## Say how a board is: serial number, thing, version, slots, last result not yet reported: PORT=…
	@$(THERMOMETER) status $(call needed,port,PORT)

.PHONY: console
console: $(READY)  ## Show a board's console, Ctrl-] ends it: PORT=…
	@$(THERMOMETER) console $(call needed,port,PORT)

.PHONY: wifi
wifi: $(READY)  ## Give a board in its setup a WiFi network, over the cable; asks for both: PORT=… [SSID=…]
	@$(THERMOMETER) wifi $(call secret,WIFI_PASSWORD)$(call needed,port,PORT) $(call option,ssid,SSID)

.PHONY: installer
installer: $(READY)  ## Make a web page that flashes a board and gives it its WiFi (needs npm): IMAGE=build/….bin [OUT=build/installer]
	@$(THERMOMETER) installer $(call needed,image,IMAGE) $(or $(call option,out,OUT),--out=build/installer)

.PHONY: package
package: $(READY)  ## Write package.json, the list of the agent's files, for mip
	@$(PY) -m tools.deploy package

.PHONY: twin-repl
twin-repl: $(READY) $(FIRMWARES)  ## A virtual board with a console for deploy, status, mpremote: FLASH=build/….bin [PORT=4000]
	@$(THERMOMETER) twin-repl $(call needed,flash,FLASH) $(call option,port,PORT)

.PHONY: server
server: $(READY) $(FIRMWARES)  ## Start the GadgetKeeper server [PORT=8080] [DATA=build/server] [HOST=127.0.0.1] [WORKERS=1]
	@$(PY) -m tools.server serve --port $(or $(PORT),8080) --data "$(or $(DATA),build/server)" $(if $(HOST),--host "$(HOST)") $(if $(WORKERS),--workers "$(WORKERS)")

# A worker that has nothing left takes tests from another one: the slow ones stand together, in files. Containers often
# keep Python from writing what it has compiled; the suite imports the agent, and starts programs, thousands of times.
PYTEST := PYTHONDONTWRITEBYTECODE= $(PY) -m pytest -n 4 --dist worksteal

.PHONY: test
test: $(READY) $(FIRMWARES)  ## The whole suite
	@$(PYTEST)

.PHONY: test-cpython
test-cpython: $(READY) $(FIRMWARES)  ## What runs on CPython, on the twin's modules
	@$(PYTEST) -m "not vm"

.PHONY: test-vm
test-vm: $(READY) $(FIRMWARES)  ## What runs on the real MicroPython VM
	@$(PYTEST) -m vm

.PHONY: powercut
powercut: $(READY) $(FIRMWARES)  ## Cut the power at every flash operation [STORY=… CUT="57:torn 3:clean" SEED=1 IMAGE_BYTES=20000 PAIRS=2400 VM=120]
	@$(PY) -m tools.proof.powercut $(if $(STORY),--story "$(STORY)") $(foreach cut,$(CUT),--cut $(cut)) $(if $(SEED),--seed "$(SEED)") \
	  $(if $(IMAGE_BYTES),--image-bytes "$(IMAGE_BYTES)") $(if $(PAIRS),--pairs "$(PAIRS)") $(if $(CUT)$(STORY),,--vm $(or $(VM),120))

.PHONY: chip
chip: $(READY) $(FIRMWARES)  ## The stories on real firmware in an emulated ESP32 [EMULATOR=path/to/qemu-system-xtensa EMULATOR_ARGS=… STORY="update crash"]
	@$(PY) -m tools.proof.chip $(if $(EMULATOR),--emulator "$(EMULATOR)") $(if $(EMULATOR_ARGS),--emulator-args="$${EMULATOR_ARGS}") $(if $(STORY),--story $(STORY))

.PHONY: fuzz-net
fuzz-net: $(READY)  ## Answer the device with many more generated answers than the suite does [EXAMPLES=5000]
	@GADGETKEEPER_FUZZ=$(or $(EXAMPLES),5000) $(PY) -m pytest -q host_tests/http/test_generated_answers.py

.PHONY: schemathesis
schemathesis: $(READY)  ## Generate many requests from the server's OpenAPI description [EXAMPLES=200]
	@GADGETKEEPER_SCHEMATHESIS=$(or $(EXAMPLES),200) $(PY) -m pytest -q host_tests/desk/server/test_contract.py

.PHONY: bench-server
bench-server: $(READY) $(FIRMWARES)  ## What the server carries, next to nginx, with 100,000 things [WORKERS=2] [THINGS=100000] [POSTGRESQL=postgresql+psycopg://…]
	@$(PY) -m tools.proof.server_bench $(if $(WORKERS),--workers "$(WORKERS)") $(if $(THINGS),--things "$(THINGS)") $(if $(POSTGRESQL),--postgresql "$(POSTGRESQL)")

.PHONY: console-pictures
console-pictures: $(READY)  ## Make the pictures of docs/console.md (needs Debian's chromium), and time the pages [THINGS=100000]
	@$(PY) -m tools.proof.console_pictures $(if $(THINGS),--things "$(THINGS)")

.PHONY: setup-pictures
setup-pictures: $(READY) $(FIRMWARES)  ## Make the pictures of docs/setup.md (needs Debian's chromium)
	@SETUP_PICTURES=docs $(PY) -m pytest -q host_tests/desk/test_setup_browser.py

.PHONY: mutants
mutants: $(READY) $(FIRMWARES)  ## Make mistakes in copies of the agent and show that the proof notices each
	@$(PY) -m tools.proof.mutants

$(VENV)/.mutation: mutation.lock | $(READY)
	@$(BIN)/pip --quiet --disable-pip-version-check install --require-hashes -r mutation.lock
	@touch $@

.PHONY: mutation
mutation: $(READY) $(VENV)/.mutation $(FIRMWARES)  ## Change the agent in every small way and list what no test notices, hours [ONLY=slots EVERY=10]
	@$(PY) -m tools.proof.mutation $(if $(ONLY),--only "$(ONLY)") $(if $(EVERY),--every "$(EVERY)")

.PHONY: fuzz
fuzz: $(READY) $(FIRMWARES)  ## Throw generated images, signatures, bodies and files at the agent [CASES=100000 SEED=1 ONLY=heads]
	@$(PY) -m tools.proof.fuzz $(if $(CASES),--cases "$(CASES)") $(if $(SEED),--seed "$(SEED)") $(if $(ONLY),--only "$(ONLY)")

.PHONY: fleet
fleet: $(READY)  ## Let many thermometers come back at once, with jitter and without [N=1000 SEED=1]
	@$(PY) -m tools.proof.fleet --n "$(or $(N),1000)" --seed "$(or $(SEED),1)" --picture $(or $(PICTURES),build)/fleet.svg

.PHONY: bench
bench: $(READY) $(FIRMWARES)  ## What an update costs, next to other ways to update [REPEAT=9]: table, and a picture in build/bench
	@$(PY) -m tools.proof.bench $(if $(PICTURES),--docs) $(if $(REPEAT),--repeat "$(REPEAT)")

.PHONY: bench-growth
bench-growth: $(READY) $(FIRMWARES)  ## What an update costs as the firmware grows, and in pieces of any size: a picture in build/bench
	@$(PY) -m tools.proof.bench.growth $(if $(PICTURES),--docs)

.PHONY: size
size: $(READY)  ## What each module of the agent takes on flash and heap
	@$(PY) -m tools.proof.bench.size

.PHONY: figures
figures: $(READY) $(FIRMWARES)  ## Measure everything anew and draw all pictures in docs/, an hour; commit what it writes by itself
	@$(MAKE) bench bench-growth fleet PICTURES=docs
	@$(PY) -m tools.proof.powercut --picture docs/powercut.svg
	@$(PY) -m tools.owner.led_picture docs/led.svg

.PHONY: lint
lint: $(READY)  ## Format, lint, and types against the boards' stubs
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(MAKE) types

.PHONY: types
types: $(READY)  ## Types: device/ against the boards' stubs, tools/ against CPython
	@rm -rf build/stubs && mkdir -p build/stubs
	@cp "$$($(PY) -c 'import sysconfig; print(sysconfig.get_path("purelib"))')"/*.pyi build/stubs/
	@$(BIN)/mypy --custom-typeshed-dir "$$($(PY) -c 'import sysconfig; print(sysconfig.get_path("purelib"))')"
	@$(BIN)/mypy --config-file tools/mypy.ini

.PHONY: lock
lock: $(READY)  ## Pin the packages of pyproject.toml anew (needs uv)
	@UV_CUSTOM_COMPILE_COMMAND="make lock" uv pip compile -q --universal --generate-hashes --python-version 3.11 pyproject.toml -o requirements.lock
	@UV_CUSTOM_COMPILE_COMMAND="make lock" uv pip compile -q --universal --generate-hashes --python-version 3.11 --group mutation -c requirements.lock -o mutation.lock

.PHONY: clean
clean:  ## Remove what was built (the virtual environment, the firmware cache and the server's records stay)
	@find build -mindepth 1 -maxdepth 1 ! -name firmware ! -name server ! -name publish -exec rm -rf {} + 2>/dev/null || true

"""`make demo`: the customer's scenario from a factory-fresh thermometer to version 2, confirmed, on the console.

What is real: the MicroPython VM, the agent's files on a real littlefs, the flash image with its partition table and
otadata, resets, sockets, the server and its database, and both firmware images. What is not: the chip.
"""

import argparse
import json
import shutil
import sys
import tempfile
from pathlib import Path

from tools import factory, firmware, server
from tools.twin.__main__ import is_done, make_factory_fresh
from tools.twin.device import Twin, TwinError
from tools.twin.paths import VM

SERIAL = "THERM00000000000001"
FOLDER = factory.ROOT / "build" / "demo"
_TIMEOUT_S = 120


class DemoError(Exception):
    """The demo did not end as it should; the text says where."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.demo", description=__doc__)
    parser.add_argument("--firmware", type=Path, help="version 2: an app or combined ESP32 image (default: v1.28.0)")
    options = parser.parse_args()
    try:
        run(options.firmware)
    except (DemoError, firmware.FirmwareError, factory.FactoryError, server.ServingError, TwinError) as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"demo: {error}", file=sys.stderr)
        return 2
    print(f"{SERIAL}: version 2 installed and confirmed")
    return 0


def run(version_2: Path | None) -> None:
    """Go through the whole scenario; DemoError when the server or the flash says otherwise in the end."""
    images = {
        "1": firmware.app_image("1.27.0"),
        "2": firmware.extract_app(version_2) if version_2 else firmware.app_image("1.28.0"),
    }
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    with server.running(FOLDER / "server") as running:
        say(f"server at {running.url}")
        template = running.vendor.create_template("Thermometer")
        product = running.vendor.create_product("Thermometer", template["id"])
        running.vendor.add_serials(product["id"], [SERIAL])
        say(f'product "Thermometer" with serial number {SERIAL}')
        versions = {}
        for name, image in images.items():
            with tempfile.NamedTemporaryFile(dir=FOLDER) as file:
                file.write(image)
                file.flush()
                versions[name] = running.vendor.create_version(template["id"], Path(file.name))
            say(f"version {versions[name]['name']}: {len(image)} bytes of MicroPython firmware")
        running.vendor.set_target(template["id"], versions["2"]["id"])
        say("target version: 2")

        flash = FOLDER / "flash.bin"
        make_factory_fresh(flash, SERIAL, running.url)
        say("a factory-fresh thermometer is powered on")
        twin = Twin(flash, "vm" if VM.exists() else "cpython", console=_console)
        if twin.runtime == "cpython":
            say("no MicroPython VM for this machine: it runs on CPython")
        _power_on(twin)
        say("the power is cut and comes back")
        written = twin.state()
        _power_on(twin)
        if twin.state() != written:
            raise DemoError("the second power-on has changed the record on flash")
        _check(running.vendor.thing(SERIAL), twin, versions["2"]["id"], images["2"])


def say(text: str) -> None:
    """Print what happens around the device."""
    print(f"== {text}", flush=True)


def _console(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def _power_on(twin: Twin) -> None:
    result = twin.power_on(timeout_s=_TIMEOUT_S, until=is_done)
    if result.reason != "until":
        raise DemoError(f"the thermometer is not in step after {result.boots} boots ({result.reason})")


def _check(thing: dict, twin: Twin, version_id: str, image: bytes) -> None:
    """Compare what the server says with what lies on flash."""
    current = (thing["currentVersion"] or {}).get("id")
    stored = twin.state()
    say(f'server: thing "{thing["name"]}" runs version {(thing["currentVersion"] or {}).get("name")}')
    say(f"flash: /state.json says version {stored.get('versionId')}, in {stored.get('slot')}")
    if not current == thing["targetVersion"]["id"] == stored.get("versionId") == version_id:
        raise DemoError(f"server and flash disagree: {current}, {json.dumps(stored.get('versionId'))}")
    if twin.slot_bytes(stored["slot"], len(image)) != image:
        raise DemoError(f"{stored['slot']} does not hold version 2")


if __name__ == "__main__":
    sys.exit(main())

"""`make demo`: the customer's scenario from a factory-fresh thermometer to version 2, confirmed, on the console.

Version 2 is version 1 with one line of the product changed. What is real: the MicroPython VM, a littlefs with the
board's files, the flash image with its partition table and otadata, resets, sockets, the server and its database, and
both releases, whose bundles are executed. What is not: the chip, and the MicroPython in the slots.
"""

import argparse
import json
import re
import shutil
import sys
import tempfile
from pathlib import Path

from tools import espressif, factory, firmware, publish, server
from tools.arguments import failed, file_name
from tools.locks import InUseError, held
from tools.server.client import VendorError
from tools.twin.__main__ import is_done, make_app, make_factory_fresh
from tools.twin.device import Twin, TwinError
from tools.twin.paths import DEVICE, VM

SERIAL = "THERM00000000000001"
FOLDER = factory.ROOT / "build" / "demo"
_TIMEOUT_S = 120
_SHOWN = 'f"{celsius} C reported"'
_SHOWN_IN_BOTH = 'f"{celsius} C = {celsius * 1.8 + 32:.1f} F reported"'
_ENDS = re.compile(r"^(.+?)(?:; the thermometer runs, next try in (\d+) s|; waiting for another target version)$", re.M)


class DemoError(Exception):
    """The demo did not end as it should; the text says where."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str):
        self.exit(failed("demo", message, 2))


def main(arguments: list[str] | None = None) -> int:
    """Run the demo. 0: it ended as it should, 1: it did not, 2: the system refused; with one line on standard error."""
    parser = _Parser(prog="thermometer demo", description=__doc__, allow_abbrev=False)
    parser.add_argument(
        "--firmware", type=file_name, help="version 2: a release (default: ours, with one line changed)"
    )
    options = parser.parse_args(arguments)
    try:
        with held(FOLDER.with_name(FOLDER.name + ".lock"), "another demo is running: let it end"):
            run(options.firmware)
    except _FAILURES as error:
        return failed("demo", error, 1)
    except OSError as error:
        return failed("demo", error, 2)
    except KeyboardInterrupt:
        return failed("demo", "interrupted", 1)
    print(f"{SERIAL}: version 2 installed and confirmed")
    return 0


def run(version_2: Path | None) -> None:
    """Go through the whole scenario; DemoError when the server or the flash says otherwise in the end."""
    images = {
        "1": make_app(1),
        "2": publish.read_app(version_2) if version_2 else make_version_2(),
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
            say(f"version {versions[name]['name']}: {len(image)} bytes of MicroPython and code")
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


_FAILURES = (
    DemoError,
    InUseError,
    espressif.ImageError,
    firmware.FirmwareError,
    factory.FactoryError,
    server.ServingError,
    VendorError,
    TwinError,
)


def make_version_2() -> bytes:
    """Return release 2: the same MicroPython, and a thermometer that shows degrees Fahrenheit as well."""
    source = (DEVICE / "thermometer.py").read_text()
    if _SHOWN not in source:
        raise DemoError("device/thermometer.py has no line that shows degrees Celsius")
    with tempfile.TemporaryDirectory() as folder:
        app = Path(folder, "thermometer")
        app.mkdir()
        (app / "thermometer.py").write_text(source.replace(_SHOWN, _SHOWN_IN_BOTH))
        return make_app(2, app=app)


def say(text: str) -> None:
    """Print what happens around the device."""
    print(f"== {text}", flush=True)


def _console(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def _power_on(twin: Twin) -> None:
    result = twin.power_on(timeout_s=_TIMEOUT_S, until=_is_over)
    if refusal := _refusal(result.console):
        raise DemoError(f"the thermometer does not take version 2: {refusal}")
    if result.reason != "until":
        raise DemoError(f"the thermometer is not in step after {result.boots} boots ({result.reason})")


def _is_over(console: str) -> bool:
    return is_done(console) or _refusal(console) is not None


def _refusal(console: str) -> str | None:
    """What the thermometer has said when it will not try again while the demo runs."""
    for match in _ENDS.finditer(console):
        if match[2] is None or int(match[2]) >= _TIMEOUT_S:
            return match[1]
    return None


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

"""`python -m tools.twin`: a virtual thermometer on the console, from power-on until it is in step and has reported."""

import argparse
import json
import re
import shutil
import sys
from pathlib import Path

from tools import agent, factory, firmware, release
from tools.arguments import count, failed, file_name
from tools.locks import InUseError, held
from tools.twin.device import RUNTIMES, WORLD, Twin, TwinError
from tools.twin.paths import VM

WIFI = [list(network) for network in WORLD["wifi"].items()]
_AROUND = {
    "cafe": {"password": "", "signal": -72},
    "neighbour": {"password": "not-your-password", "signal": -85},
}
_OWNER_S = 3600
_DONE = re.compile(r"^in step with version .*^[^\n]+ reported\n", re.MULTILINE | re.DOTALL)


def is_done(console: str) -> bool:
    """True once the console shows a product that is in step and has reported a temperature, or what it is for."""
    return _DONE.search(console) is not None


def main(arguments: list[str] | None = None) -> int:
    """Run a twin. 0: it came in step, 1: it did not, 2: it could not be powered on; the last two with one line."""
    options = _parse(arguments)
    try:
        check_size(options.flash)
        with for_itself(options.flash):
            return _run(options)
    except (TwinError, InUseError, factory.FactoryError, firmware.FirmwareError, OSError) as error:
        return failed("twin", error, 2)
    except KeyboardInterrupt:
        return failed("twin", f"interrupted: the power is cut; {options.flash} keeps what is on its flash", 1)


def _run(options: argparse.Namespace) -> int:
    runtime = options.runtime
    if runtime is None:
        runtime = "vm" if VM.exists() else "cpython"
        if runtime == "cpython":
            print("-- no MicroPython VM for this machine: running on CPython")
    elif runtime == "cpython":
        print("-- running on CPython, not on the MicroPython VM")
    twin = Twin(options.flash, runtime, console=_print)
    timeout_s = options.timeout
    if options.image:
        if options.flash.exists():
            print(f"-- {options.flash} is there already: it is powered on as it is", flush=True)
        twin.world |= insert_image(options.image, twin, options.setup)
    elif not options.flash.exists():
        make_factory_fresh(options.flash, options.serial, options.server, options.firmware)
    else:
        _check_serial(twin, options.serial)
    if options.setup:
        _open_setup(twin, options.setup)
        timeout_s = max(timeout_s, _OWNER_S)
    result = twin.power_on(options.boots, timeout_s, is_done)
    if result.reason == "until":
        return 0
    reasons = {
        "boots": f"{result.boots} boots were not enough",
        "timeout": f"{timeout_s} s were not enough",
        "ended": "main.py ended",
    }
    return failed("twin", f"not in step: {reasons[result.reason]}", 1)


def check_size(flash: Path) -> None:
    """TwinError when there is a file already that is no flash: nothing is then put beside it."""
    if flash.exists() and flash.stat().st_size not in factory.FLASH_SIZES.values():
        sizes = ", ".join(factory.FLASH_SIZES)
        raise TwinError(f"{flash} is no flash image of {sizes}: name another file, or remove it")


def for_itself(flash: Path):
    """Two boards with one flash would each undo what the other writes."""
    return held(flash.with_name(flash.name + ".lock"), f"{flash} is in use by another virtual board")


def make_factory_fresh(flash: Path, serial: str, server: str, app: Path | None = None, **config: object) -> None:
    """Write a new thermometer's flash image: release 1 (on MicroPython v1.27.0, or another `app`), serial, settings."""
    files = {**agent.board_files(), **factory.own_files(serial, server, wifi=WIFI, start_spread_s=0, **config)}
    running = make_app(1) if app is None else firmware.extract_app(app)
    image = factory.flash_image(firmware.combined_image("1.27.0"), files, running)
    flash.parent.mkdir(parents=True, exist_ok=True)
    flash.write_bytes(image)


def make_app(number: int, **contents) -> bytes:
    """Return the release of this number, on MicroPython v1.27.0; as source where there is no MicroPython VM."""
    app = firmware.app_image("1.27.0")
    return release.make_release(app, release.Contents(number, **contents), source=not VM.exists())


def insert_image(image: Path, twin: Twin, setup: int | None = None) -> dict:
    """Make a factory image the twin's flash, unless that is there already, and give the world it was made for: the
    WiFi networks in its settings. TwinError when it is none, another board's, or one that waits for its owner to name
    a network, and no port is given for its `setup`."""
    try:
        content = image.read_bytes()
        files = factory.read_files(content)
        settings = _settings(files)
        wifi = settings.get("wifi", [])
    except OSError as error:
        raise TwinError(f"{image} cannot be read: {error.strerror}") from None
    except (factory.FactoryError, KeyError, ValueError) as error:
        raise TwinError(f"{image}: {error}") from None
    if twin.runtime != "vm" and _is_compiled(content):
        raise TwinError(f"{image} holds the agent as .mpy, which only the MicroPython VM runs, not CPython")
    if twin.flash_path.exists():
        _check_serial(twin, files["/serial.txt"].decode().strip())
        try:
            alike = _settings(twin.files()) == settings
        except (KeyError, TypeError, ValueError):
            alike = False
        if not alike:
            raise TwinError(f"{twin.flash_path} has other settings than {image}: name another file, or remove it")
    else:
        twin.flash_path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(image, twin.flash_path)
    if not wifi and not setup:
        raise TwinError(f"{image} knows no network: give its owner a page to name one, with SETUP=8090")
    return {"wifi": {network[0]: network[1] for network in wifi}} if wifi else {}


def _open_setup(twin: Twin, port: int) -> None:
    """Put some networks around the twin, and its setup network's page on a port of this computer."""
    twin.world["wifi"] = {**_AROUND, **twin.world["wifi"]}
    twin.world["ports"] = {"80": port}
    known = ", ".join(f"{name} (password {_password(point) or 'none'})" for name, point in twin.world["wifi"].items())
    print(f"-- the page of its setup network, once that is open: http://127.0.0.1:{port}/")
    print(f"-- networks around: {known}", flush=True)


def _password(point: str | dict) -> str:
    return point if isinstance(point, str) else point["password"]


def _is_compiled(image: bytes) -> bool:
    """True when the image's release is bytecode."""
    try:
        found = factory.first_release(image, "ota_0")
    except release.ReleaseError:
        return False
    return any(path.endswith(".mpy") for path in found.files)


def _settings(files: dict[str, bytes]) -> dict:
    """Those of a board, but for the time at which it was made."""
    return {**json.loads(files["/config.json"]), "made_at": None}


def _check_serial(twin: Twin, serial: str) -> None:
    try:
        found = twin.files().get("/serial.txt", b"").decode(errors="replace").strip()
    except Exception as error:
        raise TwinError(f"{twin.flash_path} holds no file system ({error}): name another file, or remove it") from None
    if found and found != serial:
        raise TwinError(f"{twin.flash_path} is {found}, not {serial}: name another file, or remove it")


def _print(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


class _Parser(argparse.ArgumentParser):
    def error(self, message: str):
        self.exit(failed("twin", message, 2))


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = _Parser(prog="thermometer twin", description=__doc__, allow_abbrev=False)
    parser.add_argument("--serial", type=_serial)
    parser.add_argument("--server", type=_server)
    parser.add_argument(
        "--image", type=file_name, help="a factory image to begin with; it names serial number and server"
    )
    parser.add_argument("--flash", required=True, type=_file)
    parser.add_argument("--runtime", choices=RUNTIMES)
    parser.add_argument("--boots", type=count, default=8)
    parser.add_argument("--timeout", type=count, default=180, metavar="SECONDS")
    parser.add_argument("--setup", type=_port, metavar="PORT", help="where the page of its setup network is")
    parser.add_argument("--firmware", type=file_name, help="the app a factory-fresh board runs (default: v1.27.0)")
    options = parser.parse_args(arguments)
    if not options.image and not (options.serial and options.server):
        parser.error("SERIAL=… and SERVER=… are needed, or a factory image: IMAGE=…")
    return options


def _serial(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,63}", text):
        raise argparse.ArgumentTypeError(f"{text!r} is no serial number like THERM00000000000001 (SERIAL=...)")
    return text


def _server(text: str) -> str:
    if not re.fullmatch(r"https?://[^/\s:]+(:\d+)?/?", text):
        raise argparse.ArgumentTypeError(f"{text!r} is no address like http://127.0.0.1:8080 (SERVER=...)")
    return text


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or not 1 <= int(text) <= 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is no TCP port like 8090 (SETUP=...)")
    return int(text)


def _file(text: str) -> Path:
    if not text or file_name(text).is_dir():
        raise argparse.ArgumentTypeError(f"{text!r} is no file name like build/twin.bin (FLASH=...)")
    return Path(text)


if __name__ == "__main__":
    sys.exit(main())

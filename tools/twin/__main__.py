"""`python -m tools.twin`: a virtual thermometer on the console, from power-on until it is in step and has reported."""

import argparse
import json
import re
import shutil
import sys
from pathlib import Path

from tools import agent, factory, firmware
from tools.arguments import count
from tools.twin.device import RUNTIMES, WORLD, Twin, TwinError
from tools.twin.paths import VM

WIFI = [list(network) for network in WORLD["wifi"].items()]
_DONE = re.compile(r"^in step with version .*^\S+ C reported\n", re.MULTILINE | re.DOTALL)


def is_done(console: str) -> bool:
    """True once the console shows a thermometer that is in step and has reported a temperature."""
    return _DONE.search(console) is not None


def main() -> int:
    options = _parse()
    runtime = options.runtime
    if runtime is None:
        runtime = "vm" if VM.exists() else "cpython"
        if runtime == "cpython":
            print("-- no MicroPython VM for this machine: running on CPython")
    elif runtime == "cpython":
        print("-- running on CPython, not on the MicroPython VM")
    try:
        twin = Twin(options.flash, runtime, console=_print)
        if options.image:
            if options.flash.exists():
                print(f"-- {options.flash} is there already: it is powered on as it is", flush=True)
            twin.world |= insert_image(options.image, twin)
        elif not options.flash.exists():
            make_factory_fresh(options.flash, options.serial, options.server, options.firmware)
        else:
            _check_serial(twin, options.serial)
        result = twin.power_on(options.boots, options.timeout, is_done)
    except (TwinError, factory.FactoryError, firmware.FirmwareError) as error:
        print(f"twin: {error}", file=sys.stderr)
        return 2
    if result.reason == "until":
        return 0
    reasons = {
        "boots": f"{result.boots} boots were not enough",
        "timeout": f"{options.timeout} s were not enough",
        "ended": "main.py ended",
    }
    print(f"twin: not in step: {reasons[result.reason]}", file=sys.stderr)
    return 1


def make_factory_fresh(flash: Path, serial: str, server: str, app: Path | None = None, **config: object) -> None:
    """Write a new thermometer's flash image: MicroPython v1.27.0 (or another app), the agent, serial, settings."""
    files = {**agent.source_files(), **factory.own_files(serial, server, wifi=WIFI, start_spread_s=0, **config)}
    image = factory.flash_image(firmware.combined_image("1.27.0"), files, firmware.extract_app(app) if app else None)
    flash.parent.mkdir(parents=True, exist_ok=True)
    flash.write_bytes(image)


def insert_image(image: Path, twin: Twin) -> dict:
    """Make a factory image the twin's flash, unless that is there already, and give the world it was made for: the
    WiFi networks in its settings. TwinError when it is none, or another board's."""
    try:
        files = factory.read_files(image.read_bytes())
        settings = _settings(files)
        wifi = settings["wifi"]
    except OSError as error:
        raise TwinError(f"{image} cannot be read: {error.strerror}") from None
    except (factory.FactoryError, KeyError, ValueError) as error:
        raise TwinError(f"{image}: {error}") from None
    if twin.runtime != "vm" and any(path.endswith(".mpy") for path in files):
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
    return {"wifi": dict(wifi)}


def _settings(files: dict[str, bytes]) -> dict:
    """Those of a board, but for the time at which it was made."""
    return {**json.loads(files["/config.json"]), "made_at": None}


def _check_serial(twin: Twin, serial: str) -> None:
    if twin.flash_path.stat().st_size not in factory.FLASH_SIZES.values():
        sizes = ", ".join(factory.FLASH_SIZES)
        raise TwinError(f"{twin.flash_path} is no flash image of {sizes}: name another file, or remove it")
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
        self.exit(2, f"twin: {message}\n")


def _parse() -> argparse.Namespace:
    parser = _Parser(prog="python -m tools.twin", description=__doc__)
    parser.add_argument("--serial", type=_serial)
    parser.add_argument("--server", type=_server)
    parser.add_argument("--image", type=Path, help="a factory image to begin with; it names serial number and server")
    parser.add_argument("--flash", required=True, type=_file)
    parser.add_argument("--runtime", choices=RUNTIMES)
    parser.add_argument("--boots", type=count, default=8)
    parser.add_argument("--timeout", type=count, default=180, metavar="SECONDS")
    parser.add_argument("--firmware", type=Path, help="the app a factory-fresh board runs (default: v1.27.0)")
    options = parser.parse_args()
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


def _file(text: str) -> Path:
    if not text or Path(text).is_dir():
        raise argparse.ArgumentTypeError(f"{text!r} is no file name like build/twin.bin (FLASH=...)")
    return Path(text)


if __name__ == "__main__":
    sys.exit(main())

"""`python -m tools.twin`: a virtual thermometer on the console, from power-on until it is in step and has reported."""

import argparse
import re
import sys
from pathlib import Path

from tools import agent, factory, firmware
from tools.twin import RUNTIMES, Twin, TwinError
from tools.twin.device import VM, WORLD

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
        if not options.flash.exists():
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


def _check_serial(twin: Twin, serial: str) -> None:
    if twin.flash_path.stat().st_size != factory.FLASH_BYTES:
        raise TwinError(f"{twin.flash_path} is no 4 MiB flash image: name another file, or remove it")
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
    parser.add_argument("--serial", required=True, type=_serial)
    parser.add_argument("--server", required=True, type=_server)
    parser.add_argument("--flash", required=True, type=_file)
    parser.add_argument("--runtime", choices=RUNTIMES)
    parser.add_argument("--boots", type=_count, default=8)
    parser.add_argument("--timeout", type=_count, default=180, metavar="SECONDS")
    parser.add_argument("--firmware", type=Path, help="the app a factory-fresh board runs (default: v1.27.0)")
    return parser.parse_args()


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


def _count(text: str) -> int:
    if not text.isdigit() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no number above 0")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())

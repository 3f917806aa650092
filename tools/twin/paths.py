"""Where the twin, the device's code and the MicroPython VM are, and how CPython comes to import the device's code."""

import os
import sys
from pathlib import Path

from tools.twin import cpython_time

ROOT = Path(__file__).resolve().parents[2]
CHIP = Path(__file__).resolve().parent / "chip"
"""The modules that a board has and no desk: `esp32`, `machine`, `network`, ..., imported by these bare names."""

DEVICE = Path(os.environ.get("DEVICE_UNDER_TEST", ROOT / "device"))
"""The device's code that is tested and measured; boot.py lies beside it."""

VM = Path(sys.executable).parent / "micropython"
"""The MicroPython VM; on some machines there is none."""


def make_importable(device: Path = DEVICE) -> None:
    """Put the device's code and the chip's modules on CPython's import path, and MicroPython's clock into `time`."""
    for folder in (str(device), str(CHIP)):
        if folder not in sys.path:
            sys.path.insert(0, folder)
    cpython_time.install()

"""The agent's and the shims' modules, importable on CPython as they are on the board."""

import os
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
LOGIC = HERE / "logic"
SHIMS = HERE / "shims"
DEVICE = Path(os.environ.get("DEVICE_UNDER_TEST", HERE.parent / "device"))

sys.path[:0] = [str(LOGIC), str(SHIMS), str(DEVICE)]

import cpython_time  # noqa: E402

cpython_time.install()

from tools.twin.device import VM  # noqa: E402


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what needs the MicroPython VM where there is no wheel of it."""
    if VM.exists():
        return
    for item in items:
        if item.get_closest_marker("vm"):
            item.add_marker(pytest.mark.skip(reason="the MicroPython VM has no wheel for this machine"))

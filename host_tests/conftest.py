"""The device's code and the chip's modules, importable on CPython as they are on the board."""

import gc

import pytest

from tools.twin.paths import VM, make_importable

make_importable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what needs the MicroPython VM where there is no wheel of it."""
    if VM.exists():
        return
    for item in items:
        if item.get_closest_marker("vm"):
            item.add_marker(pytest.mark.skip(reason="the MicroPython VM has no wheel for this machine"))


@pytest.fixture(autouse=True, scope="module")
def _quick_collection():
    """Take what is there out of the collector's sight, after what is garbage: the agent collects after each phase."""
    gc.collect()
    gc.freeze()

"""The device's code and the chip's modules, importable on CPython as they are on the board."""

import functools
import gc
import sys

import pytest
from cryptography.hazmat.primitives import serialization

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


@pytest.fixture(autouse=True, scope="session")
def _each_key_is_checked_once():
    """Load a private key once: OpenSSL checks it each time, for a tenth of a second, and espsecure loads it for each
    signature."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(serialization, "load_pem_private_key", functools.cache(serialization.load_pem_private_key))
        yield


@pytest.fixture(autouse=True, scope="session")
def _same_cases_everywhere():
    """Have Hypothesis generate the same in each of the suite's processes, where a test of this run needs it."""
    if "hypothesis" in sys.modules:
        from tools.proof import generated

        generated.same_everywhere()

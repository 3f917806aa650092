"""The agent's transport on each runtime, and a server for it to call."""

import pytest

from host_tests.fakes.server import Server, answer
from host_tests.http.rig import Driver


@pytest.fixture(scope="module", params=["cpython", pytest.param("vm", marks=pytest.mark.vm)])
def driver(request, tmp_path_factory):
    """Makes calls on this runtime."""
    driver = Driver(request.param, tmp_path_factory.mktemp("http"))
    yield driver
    driver.close()


@pytest.fixture(scope="module")
def server():
    """A server that listens; a test gives it its script."""
    with Server([answer(b'{"id": "abc"}')]) as server:
        yield server

"""A server in the agent's own process, on any runtime: it stands where `net.urequests` does."""

import sys

import gadgetkeeper.call
import net


class _Urequests:
    def __init__(self, answer):
        self._answer = answer

    def request(self, method, url, data=None, headers=None, ca="", link=None):
        return self._answer(method, url, data, headers or {})


def serve(answer):
    """From now on have `answer(method, url, data, headers)` give the responses to all requests."""
    gadgetkeeper.call.urequests = net.urequests = sys.modules["net.urequests"] = _Urequests(answer)  # type: ignore[assignment]


def stop():
    """Go back to the network."""
    del sys.modules["net.urequests"], net.urequests
    gadgetkeeper.call.urequests = __import__("net.urequests", None, None, ("request",))

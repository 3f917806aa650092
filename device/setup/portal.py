"""The setup: a network of the board's own and what answers in it, until the board has joined one of its owner's.

What the page and the cable have in common is the portal: they leave a wish there, and show what came of it.
"""

import time

from agent.owner import Owner
from agent.runner import run
from board import access_point
from micropython import const

from . import JOINED, NOT_REGISTERED, TRYING
from .improv import Improv
from .names import Names
from .web import Web

_SLICE_MS = const(20)
_IDLE_MS = const(300_000)  # after that, and every time again, the networks that are known are tried
_LINGER_MS = const(30_000)  # how long the page says how it went, before its network closes
_AFTER_READING_MS = const(3000)
_SERIAL_END_CHARS = const(6)


class Portal:
    """A setup: the `serial` number and the `network` that is open, the networks `found`, the owner's `choice` of one,
    the `outcome` of trying it. What the owner wants next is the `wish`: "look" around, "join" the choice, "keep" it
    without a server."""

    def __init__(self, device) -> None:
        self.device = device
        self.serial = run("agent.serial_number", "read_serial_number", device.root)
        self.network = f"{device.settings.product}-{self.serial[-_SERIAL_END_CHARS:]}"
        self.found: list = []
        self.choice = Owner(b"", "", device.settings.thing_name)
        self.wish = "look"
        self.outcome = ""
        self.is_read = False  # the outcome, by the owner
        self.services: list = []
        self.seen_ms = time.ticks_ms()  # when the owner was seen last

    def serve(self, duration_ms: int) -> None:
        """Answer whoever asks, for this time. It takes the place of a wait while the board joins a network."""
        until_ms = time.ticks_add(time.ticks_ms(), duration_ms)
        while time.ticks_diff(until_ms, time.ticks_ms()) > 0:
            self.device.board.wait(_SLICE_MS)
            for service in self.services:
                service.look()

    def fulfil(self) -> bool:
        """Do what the owner wants; return True when the board has a network."""
        wish, self.wish = self.wish, ""
        if wish == "look":
            self.found = access_point.scan()
            self.outcome = ""
        elif wish:
            self.outcome = TRYING
            self.outcome = run("setup.attempt", "attempt", self, wish == "keep")
            self.is_read = False
            self.seen_ms = time.ticks_ms()
        elif self.device.settings.wifi and time.ticks_diff(time.ticks_ms(), self.seen_ms) > _IDLE_MS:
            self.seen_ms = time.ticks_ms()
            return run("setup.attempt", "rejoin", self)
        return self.outcome in (JOINED, NOT_REGISTERED)


def set_up(device) -> None:
    """Open the board's network until the board has joined another one; then restart, so that nothing of the setup is in
    memory, names included. AgentError when the radio fails, or the board has no serial number."""
    portal = Portal(device)
    access_point.leave()
    try:
        address = access_point.open_access_point(portal.network, device.settings.setup_password)
        for service in (Web, Names, Improv):
            portal.services.append(service(portal, address))
        device.console.say(f"setup: join the network {portal.network} with the password on the label")
        device.board.note_health()
        device.board.show("setting up")
        while not portal.fulfil():
            portal.serve(_SLICE_MS)
        device.console.say("setup: done, starting anew")
        lingered_ms = 0 if portal.outcome else _LINGER_MS
        while lingered_ms < _LINGER_MS and not portal.is_read:
            portal.serve(_SLICE_MS)
            lingered_ms += _SLICE_MS
        portal.serve(_AFTER_READING_MS)
    finally:
        for service in portal.services:
            service.close()
        access_point.close_access_point()
    device.board.reset()

"""The radio while its owner sets the board up: the board's own network, and a look at the networks around."""

import network
from agent.errors import RetryableError
from micropython import const

_CLIENTS_MAX = const(4)
_FOUND_MAX = const(10)
_OPEN = const(0)


class Found:
    """A network within reach: its name in bytes, which need be no text; the signal in dBm; whether it is open."""

    def __init__(self, name: bytes, signal_dbm: int, is_open: bool) -> None:
        self.name = name
        self.signal_dbm = signal_dbm
        self.is_open = is_open


def open_access_point(name: str, password: str) -> str:
    """Open a network of the board's own, WPA2, and return the board's address in it. RetryableError when the radio
    fails."""
    try:
        network.WLAN(network.STA_IF).active(True)
        point = network.WLAN(network.AP_IF)
        # The driver takes no configuration before that; until it has, some milliseconds, nothing answers there.
        point.active(True)
        point.config(ssid=name, security=network.AUTH_WPA2_PSK, key=password, max_clients=_CLIENTS_MAX)
        return point.ifconfig()[0]
    except (OSError, RuntimeError) as error:  # RuntimeError: "Wifi Unknown Error"
        close_access_point()  # it may be on the air, without a password
        raise RetryableError("no_setup", error)


def close_access_point() -> None:
    """Close the board's own network."""
    try:
        network.WLAN(network.AP_IF).active(False)
    except (OSError, RuntimeError):
        pass


def leave() -> None:
    """Leave the network that the board has joined, if any."""
    try:
        network.WLAN(network.STA_IF).disconnect()
    except (OSError, RuntimeError):
        pass


def scan() -> list:
    """Return the networks within reach, the strongest first, each name once."""
    try:
        seen = network.WLAN(network.STA_IF).scan()
    except (OSError, RuntimeError):  # the radio is busy; the owner can have it look again
        return []
    found: list = []
    for name, _, _, signal_dbm, security, _ in sorted(seen, key=lambda each: -each[3]):
        if name.strip(b"\0") and not any(name == other.name for other in found):
            found.append(Found(name, signal_dbm, security == _OPEN))
    return found[:_FOUND_MAX]

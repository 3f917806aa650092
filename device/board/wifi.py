"""The board's radio. In memory only while a network is being joined.

WPA2 and WPA3 are the firmware's own business: MicroPython offers an access point what ESP-IDF was built with.
"""

import machine
import network
from agent.errors import PermanentError, RetryableError
from micropython import const

_JOIN_TIMEOUT_MS = const(20000)
_REASON_AFTER_MS = const(10000)  # when the reason of a refusal is believed
_POLL_MS = const(100)

# What `WLAN.status` gives: reasons of IEEE 802.11, and those of ESP-IDF from 200 on
_NO_AP_FOUND = const(201)
_NO_AP_IN_RSSI_THRESHOLD = const(212)
# 4WAY_HANDSHAKE_TIMEOUT, AUTH_FAIL, HANDSHAKE_TIMEOUT; a password where none is needed, or none where one is:
# NO_AP_FOUND_W_COMPATIBLE_SECURITY, NO_AP_FOUND_IN_AUTHMODE_THRESHOLD
_PASSWORD_REASONS = const((15, 202, 204, 210, 211))


class _Network:
    """One known network, as a list in the settings: [name, password], or [name, password, address]."""

    def __init__(self, name: str, password: str, address: "list | None" = None) -> None:
        self.name = name
        self.password = password
        self.address = address


def connect(networks: list, country: str, wait) -> None:
    """Join the first of the WiFi networks that lets the board in; nothing is done while joined. At most 20 s for each,
    twice that where its strongest access point does not answer.

    [[name, password], ...] or [[name, password, [address, netmask, gateway, dns]], ...]; an open network's password is
    empty. `country` is two letters, or empty. `wait(duration_ms)` sleeps. RetryableError with each network's reason
    when none can be joined; PermanentError when `networks` or `country` is none, or the board has no radio."""
    if not networks:
        return
    try:
        wlan = network.WLAN(network.STA_IF)
    except (OSError, RuntimeError) as error:  # "Wifi Unknown Error 0x0101": no memory for the radio
        raise RetryableError("wifi_no_radio", error)
    except AttributeError as error:  # a MicroPython for other boards
        raise PermanentError("wifi_no_radio", error)
    if wlan.isconnected():
        return
    try:
        network.hostname("thermometer-" + machine.unique_id()[-3:].hex())
        if country:
            network.country(country)
    except ValueError:
        raise PermanentError("bad_config", "country")
    failures = []
    for members in networks:
        try:
            known = _Network(*members)
            code = _join(wlan, wait, known, True)
            if code == "wifi_no_answer":  # perhaps another one does
                code = _join(wlan, wait, known, False)
        except (TypeError, ValueError):
            raise PermanentError("bad_config", "wifi")
        if not code:
            return
        failures.append("{} ({})".format(known.name, code[len("wifi_") :].replace("_", " ")))
    if len(failures) > 1:
        raise RetryableError("no_wifi", ", ".join(failures))
    raise RetryableError(code, known.name)


def disconnect() -> None:
    """Switch the radio off."""
    try:
        network.WLAN(network.STA_IF).active(False)
    except (OSError, RuntimeError):  # it is stuck, or was never on
        pass


def _join(wlan, wait, known: _Network, strongest: bool) -> "str | None":
    """Try one network, its strongest access point if that can be told; None when joined, otherwise the code of the
    reason."""
    try:
        # Start the radio anew: `connect` raises "Wifi Internal State Error" while anything is still under way.
        if wlan.active():
            wlan.disconnect()
            wlan.active(False)
        wlan.active(True)
        try:
            wlan.ifconfig(known.address or "dhcp")
        except (OSError, RuntimeError):  # "dhcp" raises where it is so already
            pass
        wlan.config(reconnects=2)  # three tries, then `status` tells the last one's reason
        # Between the access point's beacons the radio sleeps, whatever the firmware's default: it would warm the
        # sensor, and a report may well take a tenth of a second.
        if hasattr(wlan, "PM_PERFORMANCE"):  # since MicroPython 1.21
            wlan.config(pm=wlan.PM_PERFORMANCE)
        name = known.name if isinstance(known.name, bytes) else bytes(known.name, "utf-8")
        point = _strongest(wlan, name) if strongest else None
        wlan.connect(known.name, known.password, bssid=point)
        for waited_ms in range(0, _JOIN_TIMEOUT_MS, _POLL_MS):
            if wlan.isconnected():
                wlan.config(reconnects=-1)  # from now on the port itself rejoins a network that was lost
                return None
            # Not the first refusal: a sound network may refuse once, and `status` may speak of the network before.
            if waited_ms >= _REASON_AFTER_MS and _reason(wlan) in ("wifi_not_found", "wifi_wrong_password"):
                break
            wait(_POLL_MS)
        return _reason(wlan)
    except (OSError, RuntimeError) as error:  # RuntimeError: "Wifi Unknown Error"
        return "wifi_wrong_password" if "Password" in str(error) else "wifi_no_answer"


def _strongest(wlan, name: bytes) -> "bytes | None":
    """Return the BSSID of the network's access point with the strongest signal. The driver would take the first one it
    hears. None where there is but one, or none that shows its name."""
    points = []
    for ssid, bssid, _, signal_dbm, _, _ in wlan.scan():
        if ssid == name:
            points.append((signal_dbm, bssid))
    return max(points)[1] if len(points) > 1 else None


def _reason(wlan) -> str:
    """Return the code of what keeps the board from the network."""
    try:
        wlan.status("rssi")
        return "wifi_no_address"
    except OSError:  # not joined
        status = wlan.status()
    if status in (_NO_AP_FOUND, _NO_AP_IN_RSSI_THRESHOLD):
        return "wifi_not_found"
    return "wifi_wrong_password" if status in _PASSWORD_REASONS else "wifi_no_answer"

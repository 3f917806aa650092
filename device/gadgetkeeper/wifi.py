"""The board's radio. In memory only while a network is joined."""

import network
from micropython import const

from .errors import FinalError, RetryableError

_WIFI_TIMEOUT_MS = const(20000)
_WIFI_VERDICT_MS = const(10000)
_POLL_MS = const(100)


def connect(networks: list, wait) -> None:
    """Join the first of the WiFi networks that takes us; nothing is done while one has. At most 20 s for each.

    [[name, password], ...] or [[name, password, [address, netmask, gateway, dns]], ...]; an open network's password is
    empty. `wait(duration_ms)` sleeps. RetryableError when none takes us, with each one's reason; FinalError when
    `networks` is no such list."""
    if not networks:
        return
    try:
        wlan = network.WLAN(network.STA_IF)
    except (OSError, RuntimeError):  # "Wifi Unknown Error 0x0101": no memory for the radio
        raise RetryableError("wifi_no_answer", networks[0][0])
    if wlan.isconnected():
        return
    failed = []
    for known in networks:
        try:
            name, code = known[0], _join(wlan, wait, *known)
        except (LookupError, TypeError, ValueError):
            raise FinalError("bad_config", "wifi")
        if not code:
            return
        failed.append("{} ({})".format(name, code[5:].replace("_", " ")))
    if len(failed) > 1:
        code, name = "no_wifi", ", ".join(failed)
    raise RetryableError(code, name)


def _join(wlan, wait, name: str, key: str, address: "list | None" = None) -> "str | None":
    """Try one network; None when it has taken us, else the code of the reason."""
    try:
        # Start the radio anew: `connect` raises "Wifi Internal State Error" while anything is still under way.
        if wlan.active():
            wlan.disconnect()
            wlan.active(False)
        wlan.active(True)
        try:
            wlan.ifconfig(address or "dhcp")
        except (OSError, RuntimeError):  # "dhcp" raises where it is so already
            pass
        wlan.config(reconnects=2)  # three tries, then `status` tells the last one's reason
        # Between the access point's beacons the radio sleeps, whatever the firmware's default: it would warm the
        # sensor, and a report may well take a tenth of a second.
        if hasattr(wlan, "PM_PERFORMANCE"):  # since MicroPython 1.21
            wlan.config(pm=wlan.PM_PERFORMANCE)
        wlan.connect(name, key)
        for waited_ms in range(0, _WIFI_TIMEOUT_MS, _POLL_MS):
            if wlan.isconnected():
                wlan.config(reconnects=-1)  # from now on the port itself rejoins a network that was lost
                return None
            # Not the first refusal: a sound network may refuse once, and `status` may speak of the network before.
            if waited_ms >= _WIFI_VERDICT_MS and _reason(wlan) in ("wifi_not_found", "wifi_wrong_password"):
                break
            wait(_POLL_MS)
        return _reason(wlan)
    except (OSError, RuntimeError) as error:  # RuntimeError: "Wifi Unknown Error"
        return "wifi_wrong_password" if "Password" in str(error) else "wifi_no_answer"


def _reason(wlan) -> str:
    """The code of what keeps us from the network, by the reasons of IEEE 802.11 and ESP-IDF that `status` gives."""
    try:
        wlan.status("rssi")
        return "wifi_no_address"
    except OSError:  # not joined
        status = wlan.status()
    if status in (201, 212):  # NO_AP_FOUND, ..._IN_RSSI_THRESHOLD
        return "wifi_not_found"
    # 4WAY_HANDSHAKE_TIMEOUT, AUTH_FAIL, HANDSHAKE_TIMEOUT, and a password where none is needed or none where one is:
    # NO_AP_FOUND_W_COMPATIBLE_SECURITY, ..._IN_AUTHMODE_THRESHOLD.
    return "wifi_wrong_password" if status in (15, 202, 204, 210, 211) else "wifi_no_answer"

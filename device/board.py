"""The board: the only module that knows the hardware. Nothing here touches it at import."""

import time

import machine
from esp32 import Partition  # noqa: F401  for slots.Slots
from machine import RTC  # noqa: F401  for clock
from micropython import const

_WIFI_TIMEOUT_MS = const(20000)
_WIFI_VERDICT_MS = const(10000)
_POLL_MS = const(100)
_SLICE_MS = const(1000)
_CONVERSION_MS = const(750)  # DS18B20, 12 bits

# Where the first ESP32 keeps its revision (ESP32 Technical Reference Manual, eFuse and APB controller)
_EFUSE_WORD_3 = const(0x3FF5A00C)
_EFUSE_WORD_5 = const(0x3FF5A014)
_APB_DATE = const(0x3FF6607C)

watchdog = None  # set by boot.py, which arms it for a trial
_trial_over = False


def end_trial() -> None:
    """From now on `feed` keeps a watchdog quiet that was armed for a trial; before, the trial's time runs out."""
    global _trial_over
    _trial_over = True


def feed() -> None:
    """Tell the watchdog, if one is armed, that the program still moves."""
    if watchdog and _trial_over:
        watchdog.feed()


def wait(duration_ms: int) -> None:
    """Sleep, feeding the watchdog."""
    while duration_ms > 0:
        feed()
        time.sleep_ms(min(duration_ms, _SLICE_MS))
        duration_ms -= _SLICE_MS


def reset() -> None:
    """Restart the chip, through the boot loader. Does not return."""
    machine.reset()


def at_power_on() -> bool:
    """True when the board has just got its power, as a whole town's boards may after a black-out."""
    return machine.reset_cause() == machine.PWRON_RESET


def connect(networks: list) -> None:
    """Join the first of the WiFi networks that takes us; nothing is done while one has. At most 20 s for each.

    [[name, password], ...] or [[name, password, [address, netmask, gateway, dns]], ...]; an open network's password is
    empty. RetryableError when none takes us, with each one's reason; FinalError when `networks` is no such list."""
    if not networks:
        return
    import network

    wlan = network.WLAN(network.STA_IF)
    if wlan.isconnected():
        return
    from gadgetkeeper.errors import FinalError, RetryableError

    failed = []
    for known in networks:
        try:
            name, code = known[0], _join(wlan, *known)
        except (IndexError, TypeError, ValueError):
            raise FinalError("bad_config", 'wifi needs [["name", "password"], ...]')
        if not code:
            return
        failed.append("{} ({})".format(name, code[5:].replace("_", " ")))
    if len(failed) > 1:
        code, name = "no_wifi", ", ".join(failed)
    raise RetryableError(code, name)


def _join(wlan, name: str, key: str, address: "list | None" = None) -> "str | None":
    """Try one network; None when it has taken us, else the code of the reason."""
    try:
        # Start the radio anew: `connect` raises "Wifi Internal State Error" while anything is still under way.
        if wlan.active():
            wlan.disconnect()
            wlan.active(False)
        wlan.active(True)
        if address:
            wlan.ifconfig(address)
        # Three tries, then `status` tells the last one's reason. Between the access point's beacons the radio sleeps,
        # whatever the firmware's default: it would warm the sensor, and a report may well take a tenth of a second.
        wlan.config(reconnects=2, pm=wlan.PM_PERFORMANCE)
        wlan.connect(name, key)
        for waited_ms in range(0, _WIFI_TIMEOUT_MS, _POLL_MS):
            if wlan.isconnected():
                wlan.config(reconnects=-1)  # from now on the port itself rejoins a network that was lost
                return None
            # Not the first refusal: a sound network may refuse once, and `status` may speak of the network before.
            if waited_ms >= _WIFI_VERDICT_MS and _reason(wlan) in ("wifi_not_found", "wifi_wrong_password"):
                break
            wait(_POLL_MS)
        code = _reason(wlan)
        if address:
            wlan.ifconfig("dhcp")  # for the networks after this one; raises where it is so already
        return code
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


def sensor_celsius(pin: int) -> "float | None":
    """What the DS18B20 on this pin measures; None when there is none."""
    import ds18x20
    import onewire

    bus = ds18x20.DS18X20(onewire.OneWire(machine.Pin(pin)))
    found = bus.scan()
    if not found:
        return None
    bus.convert_temp()
    time.sleep_ms(_CONVERSION_MS)
    return bus.read_temp(found[0])


def chip_celsius() -> float:
    """The chip's own temperature: rough, and above the room's."""
    import esp32

    if hasattr(esp32, "mcu_temperature"):
        return esp32.mcu_temperature()
    # The first ESP32 gives Fahrenheit.
    return (esp32.raw_temperature() - 32) / 1.8


def chip_revision() -> "int | None":
    """The chip's revision as images state it, major * 100 + minor; None on all chips but the first ESP32."""
    if not _is_first_esp32():
        return None
    word_5 = machine.mem32[_EFUSE_WORD_5]
    bits = machine.mem32[_APB_DATE] >> 29 & 4 | word_5 >> 19 & 2 | machine.mem32[_EFUSE_WORD_3] >> 15 & 1
    return {1: 100, 3: 200, 7: 300}.get(bits, 0) + (word_5 >> 24 & 3)


def _is_first_esp32() -> bool:
    import esp32

    return not hasattr(esp32, "mcu_temperature")

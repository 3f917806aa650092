"""The board: with `wifi`, the only module that knows the hardware. Nothing here touches it at import."""

import time

import machine
from esp32 import Partition  # noqa: F401  for slots.Slots
from machine import RTC  # noqa: F401  for clock
from micropython import const

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
    feed()


def on_trial() -> bool:
    """True while a watchdog runs that `feed` does not reach: the firmware has two minutes to prove itself."""
    return watchdog is not None and not _trial_over


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
    """True when the board has just got its power, as a whole town's boards may after a black-out; not in a trial, whose
    time is short."""
    return watchdog is None and machine.reset_cause() == machine.PWRON_RESET


def connect(networks: list) -> None:
    """Join one of the WiFi networks, see `wifi.connect`."""
    from gadgetkeeper import wifi

    wifi.connect(networks, wait)


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

"""The temperature: of a DS18B20, or of the chip itself."""

import time

import machine
from micropython import const

_CONVERSION_MS = const(750)  # DS18B20, 12 bits


def sensor_celsius(pin: int) -> "float | None":
    """See `Board.sensor_celsius`."""
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
    """See `Board.chip_celsius`."""
    import esp32

    if hasattr(esp32, "mcu_temperature"):
        return esp32.mcu_temperature()
    return (esp32.raw_temperature() - 32) / 1.8  # the first ESP32 gives Fahrenheit

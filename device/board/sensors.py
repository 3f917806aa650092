"""The temperature: of DS18B20 sensors, or of the chip itself."""

import time

import machine
from micropython import const

_CONVERSION_MS = const(750)  # DS18B20, 12 bits
_TRIES = const(2)
_DS18B20 = const(0x28)  # family, the ROM code's first byte
_CONFIG_AT = const(4)
_POWER_ON_CELSIUS = const(85)
_LEAST_CELSIUS = const(-55)
_MOST_CELSIUS = const(125)
_NO_READING = const(128)  # what the first ESP32 gives before its own sensor has measured


def sensors_celsius(pin: int) -> dict:
    """See `Board.sensors_celsius`."""
    import ds18x20
    import onewire

    bus = ds18x20.DS18X20(onewire.OneWire(machine.Pin(pin)))
    roms: list = []
    readings: dict = {}
    for _ in range(_TRIES):
        # One that was disturbed is missing in the scan, or its answer is damaged.
        roms += [rom for rom in map(bytes, bus.scan()) if rom not in roms]
        missing = [rom for rom in roms if not isinstance(readings.get(rom.hex()), float)]
        if not missing and roms:
            break
        if missing:
            bus.convert_temp()
            time.sleep_ms(_CONVERSION_MS)
        for rom in missing:
            readings[rom.hex()] = _celsius(bus, rom)
    return readings


def _celsius(bus, rom: bytes) -> "float | str":
    """Return what one sensor has measured, or why that is no reading."""
    try:
        celsius = bus.read_temp(rom)
    except Exception as error:  # the driver raises bare Exception for a bad checksum
        return str(error) or type(error).__name__
    scratchpad = bus.buf
    # The checksum of zeros is zero: what a line gives that is held low.
    if not any(scratchpad):
        return "zeros"
    if rom[0] == _DS18B20 and (scratchpad[_CONFIG_AT] & 0x9F != 0x1F or scratchpad[1] >> 3 not in (0, 0x1F)):
        return "impossible bits"
    if celsius == _POWER_ON_CELSIUS:  # so it shows that it has lost its power and not measured
        return "no measurement since power-on"
    return celsius if _LEAST_CELSIUS <= celsius <= _MOST_CELSIUS else f"out of range: {celsius}"


def chip_celsius() -> float:
    """See `Board.chip_celsius`."""
    import esp32

    if hasattr(esp32, "mcu_temperature"):
        return esp32.mcu_temperature()
    fahrenheit = esp32.raw_temperature()
    if fahrenheit == _NO_READING:
        raise ValueError("no measurement")
    return (fahrenheit - 32) / 1.8

"""The first ESP32's revision, from where it keeps it (ESP32 Technical Reference Manual, eFuse and APB controller)."""

import machine
from micropython import const

_EFUSE_WORD_3 = const(0x3FF5A00C)
_EFUSE_WORD_5 = const(0x3FF5A014)
_APB_DATE = const(0x3FF6607C)


def chip_revision() -> "int | None":
    """See `Board.chip_revision`."""
    import esp32

    if hasattr(esp32, "mcu_temperature"):  # all chips but the first ESP32
        return None
    word_5 = machine.mem32[_EFUSE_WORD_5]
    bits = machine.mem32[_APB_DATE] >> 29 & 4 | word_5 >> 19 & 2 | machine.mem32[_EFUSE_WORD_3] >> 15 & 1
    return {1: 100, 3: 200, 7: 300}.get(bits, 0) + (word_5 >> 24 & 3)

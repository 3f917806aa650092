"""`ds18x20` on the virtual chip: the sensors of the world's "ds18x20", as MicroPython's driver reads them.

That is None, one sensor's temperature, or {ROM code in hex: temperature}. In place of a temperature there may be None
(it does not answer), a scratchpad in hex, or a list of such, one for each measurement, the last one for good.
"""

from tools.twin import hardware

_ONLY = "28ff010203040506"
_POWER_ON = bytes.fromhex("50054b467fff0c101c")


def crc8(data):
    """The 1-wire bus's checksum; 0 for data with its own."""
    crc = 0
    for byte in data:
        for _ in range(8):
            crc, byte = crc >> 1 ^ (0x8C if (crc ^ byte) & 1 else 0), byte >> 1
    return crc


def scratchpad(celsius):
    """What a sensor shows that has measured this, as it lies in its memory."""
    raw = round(celsius * 16) & 0xFFFF
    content = bytes((raw & 0xFF, raw >> 8)) + b"\x4b\x46\x7f\xff\x0c\x10"
    return content + bytes((crc8(content),))


class DS18X20:
    def __init__(self, onewire):
        self.buf = bytearray(9)
        self._converted = False

    def scan(self):
        return [bytearray(bytes.fromhex(rom)) for rom, value in _sensors().items() if _now(value) is not None]

    def convert_temp(self):
        self._converted = True
        for value in _sensors().values():
            if isinstance(value, list) and len(value) > 1:
                value.pop(0)

    def read_scratch(self, rom):
        value = _now(_sensors()[bytes(rom).hex()])
        if value is None:
            self.buf[:] = b"\xff" * 9  # nobody pulls the line down
        elif not self._converted:
            self.buf[:] = _POWER_ON
        else:
            self.buf[:] = bytes.fromhex(value) if isinstance(value, str) else scratchpad(value)
        if crc8(self.buf):
            raise Exception("CRC error")
        return self.buf

    def read_temp(self, rom):
        buf = self.read_scratch(rom)
        raw = buf[1] << 8 | buf[0]
        return (raw - 0x10000 if raw & 0x8000 else raw) / 16


def _sensors():
    world = hardware.world["ds18x20"]
    return world if isinstance(world, dict) else {_ONLY: world}


def _now(value):
    return value[0] if isinstance(value, list) else value

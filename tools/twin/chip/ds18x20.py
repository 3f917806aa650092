"""`ds18x20` on the virtual chip: one sensor with the world's temperature, or none."""

from tools.twin import hardware


class DS18X20:
    def __init__(self, onewire):
        self._converted = False

    def scan(self):
        return [] if hardware.world["ds18x20"] is None else [bytearray(b"(\xff\x01\x02\x03\x04\x05\x06")]

    def convert_temp(self):
        self._converted = True

    def read_temp(self, rom):
        return hardware.world["ds18x20"] if self._converted else 85.0  # its power-on value

"""Flash that loses power in the middle: at a chosen operation, before it, within it, or right after it."""

from tools.twin.flash import SECTOR_BYTES, Flash

KINDS = ("clean", "torn", "last")
"""The operation has not begun; it stopped part-way; it is the last that was completed."""


class CutFlash(Flash):
    """`cut` is (operation number, kind) counted from now, None for none; `power_off()` is called when it is reached.

    A torn program has written its first part. A torn erase leaves the sector's first part erased, or its bits
    unstable: which, and how large the part is, follows from the operation's number and `seed`."""

    def __init__(self, file, cut, power_off, seed=0):
        super().__init__(file)
        self.cut = cut
        self._power_off = power_off
        self._seed = seed
        self.dead = False

    def erase(self, address):
        self._erasing = True
        super().erase(address)

    def program(self, address, data):
        self._erasing = False
        super().program(address, data)

    def _write(self, address, data):
        if self.dead:
            self._power_off()
        if not self.cut or self.operations - 1 != self.cut[0]:
            super()._write(address, data)
            return
        kind = self.cut[1]
        if kind == "last":
            super()._write(address, data)
        elif kind == "torn":
            super()._write(address, self._torn(address, data))
        self.dead = True
        self._power_off()

    def _torn(self, address, data):
        number = (self.operations * 2654435761 + self._seed * 40503) & 0xFFFFFFFF
        part = number % len(data)
        if not self._erasing:
            return data[:part]
        if number & 0x10000:
            return data[:part]
        # Some cells have reached 1, some have not: what is read there is anything.
        old = self.read(address, SECTOR_BYTES)
        for at in range(SECTOR_BYTES):
            number = (number * 1103515245 + 12345) & 0x7FFFFFFF
            old[at] |= number >> 16 & 0xFF
        return old

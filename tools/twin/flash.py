"""NOR flash in a file: erasing a sector sets its bits, programming only clears bits, both are counted operations."""

SECTOR_BYTES = 4096


class Flash:
    """The flash chip. `file` is an unbuffered binary file of the chip's size, open for reading and writing.

    `on_operation(number, kind, address, size_bytes)` is called before each; `kind` is "erase" or "program"."""

    def __init__(self, file, on_operation=None):
        self._file = file
        self.size_bytes = file.seek(0, 2)
        self.operations = 0
        self.on_operation = on_operation

    def read_into(self, address, view):
        """Fill `view` from `address` on."""
        self._file.seek(address)
        done = 0
        view = memoryview(view)
        while done < len(view):
            count = self._file.readinto(view[done:])
            if not count:
                raise OSError(5)
            done += count

    def read(self, address, size_bytes):
        """`size_bytes` bytes from `address` on."""
        data = bytearray(size_bytes)
        self._file.seek(address)
        if self._file.readinto(data) != size_bytes:  # an unbuffered file may give less at first
            self.read_into(address, data)
        return data

    def erase(self, address):
        """Set all bits of the sector at `address`."""
        assert address % SECTOR_BYTES == 0
        self._count("erase", address, SECTOR_BYTES)
        self._write(address, b"\xff" * SECTOR_BYTES)

    def program(self, address, data):
        """Clear the bits at `address` that are 0 in `data`; bits that are 0 already stay so."""
        self._count("program", address, len(data))
        old = self.read(address, len(data))
        if old.count(b"\xff") != len(old):
            for at in range(len(old)):
                old[at] &= data[at]
            data = old
        self._write(address, data)

    def _count(self, kind, address, size_bytes):
        if self.on_operation:
            self.on_operation(self.operations, kind, address, size_bytes)
        self.operations += 1

    def _write(self, address, data):
        self._file.seek(address)
        self._file.write(data)

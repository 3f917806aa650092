"""`micropython` for CPython."""


def const(value):
    return value


def kbd_intr(char):
    """Nobody types at a virtual chip on CPython."""


class RingIO:
    """Bytes on their way, the oldest first; what does not fit is not taken."""

    def __init__(self, size_bytes):
        self._size_bytes = size_bytes
        self._data = bytearray()

    def any(self):
        return len(self._data)

    def write(self, data):
        count = min(len(data), self._size_bytes - len(self._data))
        self._data += data[:count]
        return count

    def read(self, size_bytes):
        data = bytes(self._data[:size_bytes])
        del self._data[:size_bytes]
        return data

"""The one large buffer of an update."""

from micropython import const

_SECTOR_BYTES = const(4096)
_PART_BYTES = const(2048)


def scratch() -> memoryview:
    """Return memory for a sector, or for a part of one on a heap that has no such piece left."""
    try:
        return memoryview(bytearray(_SECTOR_BYTES))
    except MemoryError:
        return memoryview(bytearray(_PART_BYTES))

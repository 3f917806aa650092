"""The board's file system: can a release mount it? A MicroPython that cannot hangs before boot.py."""

import struct

from agent.errors import PermanentError
from micropython import const

_BLOCKS = const(2)  # the superblock is kept twice
_HEAD_BYTES = const(24)
_MAGIC_AT = const(8)
_VERSION_AT = const(20)
_MAGIC = b"littlefs"


def check_volume(partition, littlefs: int) -> None:
    """Check that the file system is no later littlefs than this one, like 0x00020001 for 2.1; 0 when that is not known.
    PermanentError when it is."""
    head = bytearray(_HEAD_BYTES)
    for volume in partition.find(partition.TYPE_DATA, label="vfs"):
        for block in range(_BLOCKS):
            volume.readblocks(block, head, 0)
            version = struct.unpack_from("<I", head, _VERSION_AT)[0]
            if head[_MAGIC_AT:_VERSION_AT].startswith(_MAGIC) and 0 < littlefs < version:
                raise PermanentError("old_littlefs", _text(version), _text(littlefs))


def _text(version: int) -> str:
    return f"{version >> 16}.{version & 0xFFFF}"

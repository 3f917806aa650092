"""The board's file system: can a release mount it? A MicroPython that cannot hangs before boot.py."""

import struct

from agent.errors import PermanentError
from micropython import const

_BLOCK_BYTES = const(4096)
_TAG_BYTES = const(4)
_FIRST_TAG_AT = const(4)  # behind the block's revision
_SUPERBLOCK = const(0x201)  # type of the tag whose content begins with the version, of entry 0
_CHECKSUM = const(0x5)  # upper bits of the type of a tag that ends a commit
_GONE = const(0x3FF)  # as a length: no content


def check_volume(partition, littlefs: int) -> None:
    """Check that the file system is no later littlefs than this one, like 0x00020001 for 2.1; 0 when that is not known.
    PermanentError when it is."""
    for volume in partition.find(partition.TYPE_DATA, label="vfs"):
        for block in range(2):  # the superblock is kept twice
            version = _version(volume, block)
            if 0 < littlefs < version:
                raise PermanentError("old_littlefs", _text(version), _text(littlefs))


def _version(volume, block: int) -> int:
    """Return the version in one copy of the superblock; 0 when there is none (littlefs, SPEC.md: each tag is stored as
    its difference to the one before)."""
    word = bytearray(_TAG_BYTES)
    version, before, at = 0, 0xFFFFFFFF, _FIRST_TAG_AT
    while at < _BLOCK_BYTES - _TAG_BYTES:
        volume.readblocks(block, word, at)
        tag = struct.unpack(">I", word)[0] ^ before
        kind, entry, length = tag >> 20, tag >> 10 & 0x3FF, tag & 0x3FF
        if kind > 0x7FF:  # nothing was written from here on
            break
        at += _TAG_BYTES
        if kind == _SUPERBLOCK and entry == 0 and at < _BLOCK_BYTES - _TAG_BYTES:
            volume.readblocks(block, word, at)
            version = struct.unpack("<I", word)[0]
        at += 0 if length == _GONE else length
        before = tag ^ ((kind & 1) << 31 if kind >> 8 == _CHECKSUM else 0)
    return version


def _text(version: int) -> str:
    return f"{version >> 16}.{version & 0xFFFF}"

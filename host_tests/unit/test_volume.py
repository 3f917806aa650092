"""A release that could not mount the board's file system would hang before boot.py: it is never armed."""

import struct

from agent.errors import PermanentError
from agent.manifest import check_manifest
from ota.volume import check_volume

from host_tests.unit.expect import raises


class Board:
    """esp32.Partition of a board whose file system begins with these two blocks."""

    TYPE_DATA = 1

    def __init__(self, *blocks):
        self.blocks = blocks

    def find(self, type, label):
        assert (type, label) == (1, "vfs")
        return [self] if self.blocks else []

    def readblocks(self, block, buffer, offset):
        assert offset == 0
        buffer[:] = self.blocks[block][: len(buffer)]


def superblock(version):
    return b"\x01\0\0\0\xf0\x0f\xff\xf7littlefs\x2f\xe0\0\x10" + struct.pack("<I", version) + bytes(100)


BLANK = b"\xff" * 124
TORN = b"\x01\0\0\0" + bytes(120)


def test_release_that_could_not_mount_the_file_system_is_refused():
    for blocks in (
        (superblock(0x20002), BLANK),
        (TORN, superblock(0x20002)),
        (superblock(0x20001), superblock(0x30000)),
    ):
        raises(PermanentError, "old_littlefs", check_volume, Board(*blocks), 0x20001)
    raises(PermanentError, "old_littlefs", check_volume, Board(superblock(0x20001), superblock(0x20001)), 0x20000)


def test_release_that_can_mount_it_or_does_not_tell_is_not():
    for blocks in ((superblock(0x20001), BLANK), (superblock(0x20000), superblock(0x20001)), (BLANK, TORN), ()):
        check_volume(Board(*blocks), 0x20001)
    check_volume(Board(superblock(0x20002), BLANK), 0)


def test_manifest_tells_it_and_when_the_release_was_built():
    text = '{"product": "T", "release": 3, "littlefs": 131073, "built_at": 849000000}'
    manifest = check_manifest(text, 3, "T")
    assert (manifest.littlefs, manifest.built_at) == (0x20001, 849000000)
    for broken in ('"built_at": -1', '"built_at": "x"', '"built_at": 2147483648', '"littlefs": null'):
        raises(PermanentError, "bad_manifest", check_manifest, '{"product": "T", "release": 3, ' + broken + "}", 3, "T")

"""A release that could not mount the board's file system would hang before boot.py: it is never armed."""

import struct

from agent.errors import PermanentError
from agent.manifest_reader import check_manifest
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
        assert offset + len(buffer) <= 4096
        buffer[:] = self.blocks[block][offset : offset + len(buffer)]


def superblock(*versions):
    """A block of tags as littlefs writes them, with a file's name in between, and a commit for each of the versions."""
    block, before = b"\x01\0\0\0", 0xFFFFFFFF
    for number, version in enumerate(versions):
        content = struct.pack("<I", version) + bytes(20)
        for kind, entry, data in (
            (0x0FF, 0, b"littlefs"),
            (0x001, 1, b"boot.py"),
            (0x201, 1, b"\x01\0\0\0" * 2),
            (0x201, 0, content),
            (0x4FF, 0x3FF, None),
            (0x500 + number % 2, 0x3FF, b"crc!"),
        ):
            tag = kind << 20 | entry << 10 | (0x3FF if data is None else len(data))
            block += struct.pack(">I", tag ^ before) + (data or b"")
            before = tag ^ (kind & 1) << 31 if kind >> 8 == 5 else tag
    return block + b"\xff" * (4096 - len(block))


BLANK = b"\xff" * 4096
TORN = b"\x01\0\0\0" + bytes(4092)


def test_release_that_could_not_mount_the_file_system_is_refused():
    for blocks in (
        (superblock(0x20002), BLANK),
        (TORN, superblock(0x20002)),
        (superblock(0x20001), superblock(0x20000, 0x20001, 0x30000)),
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


def test_latest_of_many_commits_counts():
    blocks = superblock(*[0x20001] * 9), superblock(*[0x20000] * 9)
    check_volume(Board(*blocks), 0x20001)
    raises(PermanentError, "old_littlefs", check_volume, Board(*blocks), 0x20000)

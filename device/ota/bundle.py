"""The bundle check: is what lies in the image's segment for load address 0 a release that boot.py can run?

It is a ROMFS, and behind it an index that saves searching: for each path its CRC-32, where its content begins in the
segment, and its size; at the very end the number of paths. boot.py reads the running slot's in the same way; it is the
part that never changes, so it is not shared with it.
"""

import binascii
import struct

from agent.errors import PermanentError
from agent.runner import run
from micropython import const

from .header import Header

_HEADER_BYTES = const(24)
_SEGMENT_HEADER_BYTES = const(8)
_INDEX_ENTRY_BYTES = const(12)
_COUNT_BYTES = const(4)
_PATHS_MAX = const(256)
_FOLDER = const(0xFFFFFFFF)  # as a size
_MANIFEST_MAX_BYTES = const(2048)
_ROMFS_MAGIC = b"\xd2\xcd\x31"
_NEEDED = ("/manifest.json", "/main.mpy", "/agent/loop.mpy", "/board/__init__.mpy")


class Bundle:
    """The bundle in a slot. PermanentError when there is none, or it is damaged."""

    def __init__(self, slot) -> None:
        self._slot = slot
        self._start, self._size_bytes = self._segment()
        count = self._number(self._size_bytes - _COUNT_BYTES)
        self._index_at = self._size_bytes - _COUNT_BYTES - count * _INDEX_ENTRY_BYTES
        if count > _PATHS_MAX or self._index_at < 0:
            raise PermanentError("bad_bundle", "index")

    def size_bytes(self, path: str) -> int:
        """Return the size of the file at this path. PermanentError when it is missing, or not all there."""
        _, size_bytes = self._find(path)
        return size_bytes

    def text(self, path: str) -> str:
        """Return the file at this path as text."""
        start, size_bytes = self._find(path)
        content = bytearray(size_bytes)
        self._slot.read(self._start + start, content)
        return str(content, "utf-8")

    def _segment(self) -> "tuple[int, int]":
        """Return where the segment's data begins in the slot, and its size."""
        header = bytearray(_SEGMENT_HEADER_BYTES)
        self._slot.read(0, header)
        at = _HEADER_BYTES
        magic = bytearray(len(_ROMFS_MAGIC))
        for _ in range(header[1]):
            self._slot.read(at, header)
            address, size_bytes = struct.unpack("<II", header)
            at += _SEGMENT_HEADER_BYTES
            self._slot.read(at, magic)
            if address == 0 and magic == _ROMFS_MAGIC:
                return at, size_bytes
            at += size_bytes
        raise PermanentError("no_bundle")

    def _number(self, at: int) -> int:
        if at < 0:
            raise PermanentError("bad_bundle", "size")
        number = bytearray(_COUNT_BYTES)
        self._slot.read(self._start + at, number)
        return struct.unpack("<I", number)[0]

    def _find(self, path: str) -> "tuple[int, int]":
        """Return where the content of this path begins in the segment, and its size."""
        key = binascii.crc32(path.encode())
        for at in range(self._index_at, self._size_bytes - _COUNT_BYTES, _INDEX_ENTRY_BYTES):
            if self._number(at) == key:
                start, size_bytes = self._number(at + 4), self._number(at + 8)
                if size_bytes == _FOLDER or start + size_bytes > self._index_at:
                    raise PermanentError("bad_bundle", path)
                return start, size_bytes
        raise PermanentError("bad_bundle", path)


def check_bundle(update, head) -> None:
    """Check the bundle of the release in the update's slot, which begins with `head`.

    PermanentError when the agent could not run from it, when its manifest is not that of this image, or when what it
    would change about trust cannot be."""
    bundle = Bundle(update.slot)
    for path in _NEEDED:
        bundle.size_bytes(path)
    if bundle.size_bytes(_NEEDED[0]) > _MANIFEST_MAX_BYTES:
        raise PermanentError("bad_manifest", "larger than {} bytes".format(_MANIFEST_MAX_BYTES))
    try:
        text = bundle.text(_NEEDED[0])
    except ValueError:  # not UTF-8
        raise PermanentError("bad_manifest", "no text")
    manifest = run("agent.manifest", "parse_manifest", text)
    header = Header(head)
    if manifest.release != header.release or manifest.product != header.product:
        raise PermanentError("bad_manifest", "not of this image")
    ca = manifest.settings.get("ca", "")
    if ca.startswith("/release/"):
        bundle.size_bytes(ca[len("/release") :])

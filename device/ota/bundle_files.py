"""The files of a bundle, which lies in the image's segment for load address 0.

It is a ROMFS, and behind it an index that saves searching: for each path its CRC-32, where its content begins in the
segment, and its size; at the very end the number of paths. boot.py reads the running slot's in the same way; it is the
part that never changes, so it is not shared with it.
"""

import binascii
import struct

from agent.errors import PermanentError
from micropython import const

_HEADER_BYTES = const(24)
_SEGMENT_HEADER_BYTES = const(8)
_INDEX_ENTRY_BYTES = const(12)
_COUNT_BYTES = const(4)
_PATHS_MAX = const(256)
_MANIFEST_MAX_BYTES = const(2048)
_ROMFS_MAGIC = const(b"\xd2\xcd\x31")
_MANIFEST = const("/manifest.json")
_NEEDED = const(("/main", "/agent/loop", "/board/__init__"))  # modules


class Bundle:
    """The bundle in a slot. PermanentError when there is none, or it is damaged."""

    def __init__(self, slot) -> None:
        self._slot = slot
        self._start = _HEADER_BYTES  # of the segment's data
        header = bytearray(_SEGMENT_HEADER_BYTES)
        slot.read(0, header)
        for _ in range(header[1]):
            slot.read(self._start, header)
            address, self._size_bytes = struct.unpack("<II", header)
            self._start += _SEGMENT_HEADER_BYTES
            if address == 0 and bytes(self._read(0, len(_ROMFS_MAGIC))) == _ROMFS_MAGIC:
                break
            self._start += self._size_bytes
        else:
            raise PermanentError("no_bundle")
        index_end = self._size_bytes - _COUNT_BYTES
        count = struct.unpack("<I", self._read(index_end, _COUNT_BYTES))[0]
        self._index_at = index_end - count * _INDEX_ENTRY_BYTES
        if count > _PATHS_MAX or self._index_at < 0:
            raise PermanentError("bad_bundle", "index")
        self._index = self._read(self._index_at, count * _INDEX_ENTRY_BYTES)

    def size_bytes(self, path: str) -> int:
        """Return the size of the file at this path. PermanentError when it is missing, or not all there."""
        at = self._entry(path)
        if at < 0:
            raise PermanentError("bad_bundle", path)
        start, size_bytes = struct.unpack_from("<II", self._index, at + 4)
        if start + size_bytes > self._index_at:
            raise PermanentError("bad_bundle", path)
        return size_bytes

    def check_module(self, path: str) -> None:
        """Check that there is a module, compiled or not. PermanentError when it is missing, or not all there."""
        self.size_bytes(path + (".mpy" if self._entry(path + ".mpy") >= 0 else ".py"))

    def text(self, path: str) -> str:
        """Return the file at this path as text. ValueError when it is none, PermanentError as `size_bytes`."""
        size_bytes = self.size_bytes(path)
        start = struct.unpack_from("<I", self._index, self._entry(path) + 4)[0]
        return str(self._read(start, size_bytes), "utf-8")

    def _entry(self, path: str) -> int:
        """Return where the path's entry begins in the index; a negative number without one."""
        key = struct.pack("<I", binascii.crc32(path.encode()))
        at = self._index.find(key)
        while at > 0 and at % _INDEX_ENTRY_BYTES:
            at = self._index.find(key, at + 1)
        return at

    def _read(self, at: int, size_bytes: int) -> bytearray:
        content = bytearray(size_bytes)
        self._slot.read(self._start + at, content)
        return content


def read_manifest(slot) -> str:
    """Return the text of the slot's manifest, once the modules are there that boot.py needs. PermanentError when
    something is missing or damaged."""
    bundle = Bundle(slot)
    for module in _NEEDED:
        bundle.check_module(module)
    if bundle.size_bytes(_MANIFEST) > _MANIFEST_MAX_BYTES:
        raise PermanentError("bad_manifest", f"larger than {_MANIFEST_MAX_BYTES} bytes")
    try:
        return bundle.text(_MANIFEST)
    except ValueError:  # not UTF-8
        raise PermanentError("bad_manifest", "no text")


def check_app(slot, name: str) -> None:
    """Check that the product's module is there. PermanentError when it is not."""
    Bundle(slot).check_module("/" + name.replace(".", "/"))

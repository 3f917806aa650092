"""What a patch says of itself, and whether it may be followed here. The format: docs/patch-format.md."""

import binascii
import hashlib
import struct

from agent.errors import PermanentError, RetryableError
from micropython import const

HEADER_MAX_BYTES = const(1024)

_MAGIC = const(b"GKP")
_VERSION = const(1)
_FIXED = const(
    "<3sBIIHH32s32s"
)  # magic, version, bytes of base and result, sectors of a block, bits of the window, SHA-256s
_FIXED_BYTES = const(80)
_OFFSET_BYTES = const(4)
_CRC_BYTES = const(4)
_SECTOR_BYTES = const(4096)
_WINDOW_MIN_BITS = const(9)
_WINDOW_MAX_BITS = const(12)


class PatchHeader:
    """What a patch says of itself.

    `base_bytes` and `base_sha256` are those of the release it is for, `size_bytes` and `sha256` of the one it makes, of
    which `block_bytes` are in a block; `patch_bytes` is its own length, `window_bits` what its inflater needs."""

    def __init__(self, fixed, table) -> None:
        _, _, self.base_bytes, self.size_bytes, sectors, self.window_bits, self.base_sha256, self.sha256 = fixed
        self.block_bytes = sectors * _SECTOR_BYTES
        self._table = table
        self.patch_bytes = self.offset(self.blocks)

    @property
    def blocks(self) -> int:
        """How many blocks there are."""
        return _blocks(self.size_bytes, self.block_bytes)

    def offset(self, block: int) -> int:
        """Return the byte of the patch where this block begins; for the number behind the last one, the patch's end."""
        return struct.unpack_from("<I", self._table, block * _OFFSET_BYTES)[0]


def read_header(response, slot_bytes: int) -> PatchHeader:
    """Read a patch's header from `response`, whose `readinto` then goes on with the first block.

    PermanentError for a patch that this reader does not know, or whose release is larger than the slot; RetryableError
    for what is cut, damaged, or no patch."""
    data = _read(response, _FIXED_BYTES)
    fixed = struct.unpack(_FIXED, data)
    magic, version, _, size_bytes, sectors, window_bits = fixed[:6]
    if magic != _MAGIC:
        raise _damaged("magic")
    if version != _VERSION:
        raise PermanentError("patch_version", version)
    if size_bytes > slot_bytes:
        raise PermanentError("image_too_big", slot_bytes)
    if not sectors or not _WINDOW_MIN_BITS <= window_bits <= _WINDOW_MAX_BITS:
        raise _damaged("sizes")
    table_bytes = (_blocks(size_bytes, sectors * _SECTOR_BYTES) + 1) * _OFFSET_BYTES
    header_bytes = _FIXED_BYTES + table_bytes + _CRC_BYTES
    if header_bytes > HEADER_MAX_BYTES:
        raise _damaged("sizes")
    table = _read(response, table_bytes)
    crc = binascii.crc32(table, binascii.crc32(data))
    if _read(response, _CRC_BYTES) != struct.pack("<I", crc):
        raise _damaged("checksum")
    at = header_bytes
    for place in range(0, table_bytes, _OFFSET_BYTES):
        offset = struct.unpack_from("<I", table, place)[0]
        if offset < at or offset >= size_bytes or (place == 0 and offset > at):
            raise _damaged("table")
        at = offset
    return PatchHeader(fixed, table)


def check_base(header: PatchHeader, running, view: memoryview) -> None:
    """Check that the slot `running` holds what the patch is for, if it is for anything; `view` is scratch memory.
    PermanentError when not."""
    if header.base_bytes and not _holds(running, header.base_bytes, header.base_sha256, view):
        raise PermanentError("patch_other_base")


def _read(response, size_bytes: int) -> bytearray:
    data = bytearray(size_bytes)
    view = memoryview(data)
    while view:
        count = response.readinto(view)
        if not count:
            raise RetryableError("patch_cut")
        view = view[count:]
    return data


def _holds(slot, size_bytes: int, sha256: bytes, view: memoryview) -> bool:
    if size_bytes > slot.size_bytes:
        return False
    digest = hashlib.sha256()
    for at in range(0, size_bytes, len(view)):
        part = view[: min(len(view), size_bytes - at)]
        slot.read(at, part)
        digest.update(part)
    return digest.digest() == sha256


def _blocks(size_bytes: int, block_bytes: int) -> int:
    return (size_bytes + block_bytes - 1) // block_bytes


def _damaged(what: str) -> RetryableError:
    return RetryableError("patch_damaged", what)

"""Where an app image's parts lie: its header, segments, a checksum, and a SHA-256 of all of it.

A signed image is padded to a whole sector, and followed by a sector of signatures.
"""

import struct

from agent.errors import PermanentError, RetryableError
from micropython import const

_HEADER_BYTES = const(24)
_SEGMENT_HEADER_BYTES = const(8)
_CHECKSUM_ALIGNMENT = const(16)
_HASH_BYTES = const(32)
_SECTOR_BYTES = const(4096)
_FINGERPRINT_BYTES = const(16)


def segments_end(slot, limit_bytes: int) -> "int | None":
    """Return where the last segment of the image in `slot` ends; None when that is beyond `limit_bytes`.

    RetryableError for a segment that cannot be one."""
    header = bytearray(_SEGMENT_HEADER_BYTES)
    slot.read(0, header)
    at = _HEADER_BYTES
    for _ in range(header[1]):
        if at + _SEGMENT_HEADER_BYTES > limit_bytes:
            return None
        slot.read(at, header)
        length = struct.unpack_from("<I", header, 4)[0]
        if length & 3:
            raise RetryableError("bad_segment", length)
        at += _SEGMENT_HEADER_BYTES + length
    return at if at <= limit_bytes else None


def find_hash(slot, size_bytes: "int | None", is_signed: bool) -> int:
    """Return where the appended SHA-256 of the image in `slot` begins. RetryableError when the image is not as long as
    what was written, `size_bytes` (None when only the image itself can tell); PermanentError when it is larger than the
    slot, or lacks its sector of signatures."""
    limit_bytes = slot.size_bytes
    if size_bytes is not None:
        if size_bytes > limit_bytes:
            raise PermanentError("image_too_big", limit_bytes)
        limit_bytes = size_bytes
    data_end = segments_end(slot, limit_bytes)
    if data_end is None:
        raise RetryableError("truncated", "segments")
    hash_at = _hash_at(data_end)
    end = hash_at + _HASH_BYTES
    if end > limit_bytes:
        raise RetryableError("truncated", "hash")
    signed_end = (end + _SECTOR_BYTES - 1) // _SECTOR_BYTES * _SECTOR_BYTES + _SECTOR_BYTES
    if size_bytes not in (None, end, signed_end):
        raise RetryableError("wrong_length", size_bytes, end)
    if is_signed and signed_end > limit_bytes:
        raise PermanentError("no_signature")
    return hash_at


def fingerprint(slot) -> "str | None":
    """Return what tells the release in `slot` from others: half of its image's appended SHA-256, in hex (32
    characters). None when its segments do not fit into the slot."""
    try:
        end = segments_end(slot, slot.size_bytes - _CHECKSUM_ALIGNMENT - _FINGERPRINT_BYTES)
    except RetryableError:
        end = None
    if end is None:
        return None
    digest = bytearray(_FINGERPRINT_BYTES)
    slot.read(_hash_at(end), digest)
    return bytes(digest).hex()


def _hash_at(data_end: int) -> int:
    """Return where the hash begins: behind the checksum, in the last of 16 bytes."""
    return data_end // _CHECKSUM_ALIGNMENT * _CHECKSUM_ALIGNMENT + _CHECKSUM_ALIGNMENT

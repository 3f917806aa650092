"""Where an image's parts end: its segments, and the SHA-256 behind them."""

import struct

from agent.errors import RetryableError
from micropython import const

_HEADER_BYTES = const(24)
_SEGMENT_HEADER_BYTES = const(8)
_CHECKSUM_ALIGNMENT = const(16)
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


def fingerprint(slot) -> "str | None":
    """Return what tells the release in `slot` from others: half of its image's appended SHA-256, in hex (32
    characters). None when there is no image."""
    try:
        end = segments_end(slot, slot.size_bytes - _CHECKSUM_ALIGNMENT - _FINGERPRINT_BYTES)
    except RetryableError:
        end = None
    if end is None:
        return None
    digest = bytearray(_FINGERPRINT_BYTES)
    slot.read(end // _CHECKSUM_ALIGNMENT * _CHECKSUM_ALIGNMENT + _CHECKSUM_ALIGNMENT, digest)
    return bytes(digest).hex()

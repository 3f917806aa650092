"""Is this image whole, and signed? The second judgement, read back from flash after the last write.

An app image is its header, segments, a checksum, and a SHA-256 of all of it. A signed image is padded to a whole sector
and followed by a sector of signatures. The checksum is left to the chip: `set_boot` folds it natively, and refuses what
does not fit it, while Python would spend more time on it than on the hash that covers it.
"""

import hashlib
import struct

from micropython import const

from .errors import FinalError, RetryableError

_HASH_BYTES = const(32)
_SECTOR_BYTES = const(4096)


def check_slot(slot, size_bytes: "int | None", trusted: "list[str]", view: memoryview) -> None:
    """Judge the image in `slot` as a whole. RetryableError when it is not what its hash or its signature says,
    FinalError when it must not run here.

    `size_bytes` is how many bytes were written, None when only the image itself can tell; `trusted` are the digests of
    the keys one of which must have signed (with none, no signature is asked for); `view` is scratch
    memory, a sector or a part of one, and at least 1216 bytes."""
    limit_bytes = slot.info()[3]
    if size_bytes is not None:
        if size_bytes > limit_bytes:
            raise FinalError("image_too_big", limit_bytes)
        limit_bytes = size_bytes
    data_end = _walk(slot, limit_bytes)
    hash_at = (data_end + 16) // 16 * 16
    end = hash_at + _HASH_BYTES
    if end > limit_bytes:
        raise RetryableError("truncated", "hash")
    padded_end = (end + _SECTOR_BYTES - 1) // _SECTOR_BYTES * _SECTOR_BYTES
    signed_end = padded_end + _SECTOR_BYTES
    if size_bytes not in (None, end, signed_end):
        raise RetryableError("wrong_length", size_bytes, end)
    if trusted and signed_end > limit_bytes:
        raise FinalError("no_signature")

    # One pass: what a signature covers holds the appended hash, which the chip itself checks before it boots.
    digest = hashlib.sha256()
    hashed_end = padded_end if trusted else hash_at
    for at in range(0, hashed_end, len(view)):
        part = view if at + len(view) <= hashed_end else view[: hashed_end - at]
        slot.readblocks(at // _SECTOR_BYTES, part, at % _SECTOR_BYTES)
        digest.update(part)
    digest = digest.digest()
    if trusted:
        from . import signature

        signature.check(slot, padded_end, digest, trusted, view)
        return
    appended = view[:_HASH_BYTES]
    slot.readblocks(hash_at // _SECTOR_BYTES, appended, hash_at % _SECTOR_BYTES)
    if digest != bytes(appended):
        raise RetryableError("wrong_hash")


def _walk(slot, limit_bytes: int) -> int:
    """Where the image's last segment ends."""
    segment = bytearray(8)
    slot.readblocks(0, segment, 0)
    at = 24
    for _ in range(segment[1]):
        if at + 8 > limit_bytes:
            break
        slot.readblocks(at // _SECTOR_BYTES, segment, at % _SECTOR_BYTES)
        length = struct.unpack_from("<I", segment, 4)[0]
        if length & 3:
            raise RetryableError("bad_segment", length)
        at += 8 + length
    else:
        if at <= limit_bytes:
            return at
    raise RetryableError("truncated", "segments")

"""The image check: is the image in a slot whole, and signed? Read back from flash after the last write.

An app image is its header, segments, a checksum, and a SHA-256 of all of it. A signed image is padded to a whole sector
and followed by a sector of signatures. The checksum is left to the chip: `set_boot` folds it natively, and refuses what
does not fit it, while Python would spend more time on it than on the hash that covers it.
"""

import hashlib

from agent.errors import PermanentError, RetryableError
from agent.runner import run
from micropython import const

_CHECKSUM_ALIGNMENT = const(16)
_HASH_BYTES = const(32)
_SECTOR_BYTES = const(4096)
_BUFFER_BYTES = const(2048)


def check_image(slot, size_bytes: "int | None", trusted: "list[str]") -> None:
    """Check the image in `slot` as a whole. RetryableError when it is not what its hash or its signature says,
    PermanentError when it must not run here.

    `size_bytes` is how many bytes were written, None when only the image itself can tell; `trusted` are the digests of
    the keys one of which must have signed (with none, no signature is asked for)."""
    limit_bytes = slot.size_bytes
    if size_bytes is not None:
        if size_bytes > limit_bytes:
            raise PermanentError("image_too_big", limit_bytes)
        limit_bytes = size_bytes
    segments_end = slot.segments_end(limit_bytes)
    if segments_end is None:
        raise RetryableError("truncated", "segments")
    hash_at = segments_end // _CHECKSUM_ALIGNMENT * _CHECKSUM_ALIGNMENT + _CHECKSUM_ALIGNMENT
    end = hash_at + _HASH_BYTES
    if end > limit_bytes:
        raise RetryableError("truncated", "hash")
    padded_end = (end + _SECTOR_BYTES - 1) // _SECTOR_BYTES * _SECTOR_BYTES
    signed_end = padded_end + _SECTOR_BYTES
    if size_bytes not in (None, end, signed_end):
        raise RetryableError("wrong_length", size_bytes, end)
    if trusted and signed_end > limit_bytes:
        raise PermanentError("no_signature")

    view = memoryview(bytearray(_BUFFER_BYTES))
    if trusted:
        # One pass: what a signature covers holds the appended hash, which the chip itself checks before it boots.
        digest = _sha256(slot, padded_end, view)
        run("ota.signature", "check_signature", slot, padded_end, digest, trusted, view)
        return
    digest = _sha256(slot, hash_at, view)
    appended = view[:_HASH_BYTES]
    slot.read(hash_at, appended)
    if digest != bytes(appended):
        raise RetryableError("wrong_hash")


def _sha256(slot, end: int, view: memoryview) -> bytes:
    digest = hashlib.sha256()
    for at in range(0, end, len(view)):
        part = view if at + len(view) <= end else view[: end - at]
        slot.read(at, part)
        digest.update(part)
    return digest.digest()

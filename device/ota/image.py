"""The image check: is the image in a slot whole, and signed? Read back from flash after the last write.

The image's checksum is left to the chip: `set_boot` folds it natively, and refuses what does not fit it, while Python
would spend more time on it than on the hash that covers it.
"""

import hashlib

from agent.errors import RetryableError
from agent.runner import run
from micropython import const

_HASH_BYTES = const(32)
_SECTOR_BYTES = const(4096)
_BUFFER_BYTES = const(2048)


def check_image(slot, size_bytes: "int | None", trusted: "list[str]") -> None:
    """Check the image in `slot` as a whole. RetryableError when it is not what its hash or its signature says,
    PermanentError when it must not run here.

    `size_bytes` is how many bytes were written, None when only the image itself can tell; `trusted` are the digests of
    the keys one of which must have signed (with none, no signature is asked for)."""
    hash_at = run("ota.layout", "find_hash", slot, size_bytes, bool(trusted))
    if trusted:
        # One pass: what a signature covers holds the appended hash, which the chip itself checks before it boots.
        signature_at = (hash_at + _HASH_BYTES + _SECTOR_BYTES - 1) // _SECTOR_BYTES * _SECTOR_BYTES
        run("ota.signature", "check_signature", slot, signature_at, _sha256(slot, signature_at), trusted)
        return
    appended = bytearray(_HASH_BYTES)
    slot.read(hash_at, appended)
    if _sha256(slot, hash_at) != bytes(appended):
        raise RetryableError("wrong_hash")


def _sha256(slot, end: int) -> bytes:
    digest = hashlib.sha256()
    view = memoryview(bytearray(_BUFFER_BYTES))
    for at in range(0, end, _BUFFER_BYTES):
        part = view if at + _BUFFER_BYTES <= end else view[: end - at]
        slot.read(at, part)
        digest.update(part)
    return digest.digest()

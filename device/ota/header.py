"""The header check: may this image run here? By its first bytes alone, before anything is erased for it.

The format is Espressif's app image: a 24-byte header, the first segment's 8 bytes, and at offset 32 the app descriptor,
which tells an app from a boot loader.
"""

import binascii
import struct

from agent.errors import PermanentError, RetryableError
from micropython import const

_HEADER_BYTES = const(288)  # image header, first segment's header, app descriptor

_MAGIC = const(0xE9)
_SEGMENTS_MAX = const(16)
_CHIP_AT = const(12)
_MIN_REVISION_AT = const(15)
_HASH_APPENDED_AT = const(23)
_FIRST_SEGMENT_BYTES_AT = const(28)
_DESCRIPTOR_MAGIC_AT = const(32)
_SECURE_VERSION_AT = const(36)
_DESCRIPTOR_MAGIC = const(0xABCD5432)


class Header:
    """What an image's first bytes say."""

    def __init__(self, head) -> None:
        self.magic = head[0]
        self.segments = head[1]
        self.chip = struct.unpack_from("<H", head, _CHIP_AT)[0]
        self.min_revision = struct.unpack_from("<H", head, _MIN_REVISION_AT)[0]
        self.has_hash = head[_HASH_APPENDED_AT] == 1
        self.first_segment_bytes = struct.unpack_from("<I", head, _FIRST_SEGMENT_BYTES_AT)[0]
        self.is_app = struct.unpack_from("<I", head, _DESCRIPTOR_MAGIC_AT)[0] == _DESCRIPTOR_MAGIC
        self.secure_version = struct.unpack_from("<I", head, _SECURE_VERSION_AT)[0]


def check_header(update, head, size_bytes: int) -> None:
    """Check an image by its first 288 bytes, `head`; it will have `size_bytes` at least. PermanentError says what is
    wrong with it; RetryableError when they are not all there.

    It must be for the chip of the running firmware, keep its secure version, and fit the slot."""
    if head and head[0] != _MAGIC:
        raise PermanentError("not_an_image", binascii.hexlify(head[:4]).decode())
    if len(head) < _HEADER_BYTES:
        raise RetryableError("truncated", "head")
    new = Header(head)
    own_head = bytearray(_SECURE_VERSION_AT + 4)
    update.running.read(0, own_head)
    own = Header(own_head)
    revision = update.chip_revision
    if not 1 <= new.segments <= _SEGMENTS_MAX:
        raise PermanentError("bad_segments", new.segments)
    if new.chip != own.chip:
        raise PermanentError("wrong_chip", new.chip, own.chip)
    if revision is not None and new.min_revision > revision:
        raise PermanentError("newer_chip", new.min_revision, revision)
    if not new.is_app:
        raise PermanentError("not_an_app")
    if new.secure_version < own.secure_version:
        raise PermanentError("older_secure_version", new.secure_version, own.secure_version)
    if not new.has_hash:
        raise PermanentError("no_hash")
    if max(new.first_segment_bytes, size_bytes) > update.slot.size_bytes:
        raise PermanentError("image_too_big", update.slot.size_bytes)

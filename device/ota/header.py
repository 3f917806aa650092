"""The header check: may this image run here? By its first bytes alone, before anything is erased for it.

The format is Espressif's app image: a 24-byte header, the first segment's 8 bytes, and at offset 32 the app descriptor,
which tells an app from a boot loader.
"""

import binascii
import struct

from agent.errors import PermanentError, RetryableError
from micropython import const

_HEAD_BYTES = const(288)  # image header, first segment's header, app descriptor

_MAGIC = const(0xE9)
_SEGMENTS_MAX = const(16)
_CHIP_AT = const(12)
_MIN_REVISION_AT = const(15)
_HASH_APPENDED_AT = const(23)
_FIRST_SEGMENT_BYTES_AT = const(28)
_DESCRIPTOR_MAGIC_AT = const(32)
_SECURE_VERSION_AT = const(36)
_VERSION_AT = const(48)
_PROJECT_AT = const(80)
_TEXT_BYTES = const(32)
_DESCRIPTOR_MAGIC = const(0xABCD5432)
_MICROPYTHON_LEAST = const((1, 24))  # older ones lack the boot loader's rollback, `tls`, or the dates of certificates


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
        # A release's version reads like "2 1.27.0": its number, and the MicroPython in it.
        number, _, self.micropython = _text(head, _VERSION_AT).partition(" ")
        self.release = int(number) if number.isdigit() else None
        self.product = _text(head, _PROJECT_AT)


def _text(head, at: int) -> str:
    text = bytes(head[at : at + _TEXT_BYTES]).split(b"\0", 1)[0]
    return "".join(chr(byte) if 0x20 <= byte < 0x7F else "?" for byte in text)


def check_header(update, head, size_bytes: int) -> None:
    """Check an image by its first 288 bytes, `head`, and set the update's `release`; it will have `size_bytes` at
    least, 0 when that is not known. PermanentError says what is wrong with it; RetryableError when `head` is shorter.

    It must be a release of this product, not below the floor, on a MicroPython that the agent can live on, for the chip
    of the running one, keep its secure version, and fit the slot."""
    if head and head[0] != _MAGIC:
        raise PermanentError("not_an_image", binascii.hexlify(head[:4]).decode())
    if len(head) < _HEAD_BYTES:
        raise RetryableError("truncated", "head")
    new = Header(head)
    own_head = bytearray(_HEAD_BYTES)
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
    _check_release(update.device, new)
    update.release = new.release
    if not new.has_hash:
        raise PermanentError("no_hash")
    if max(new.first_segment_bytes, size_bytes) > update.slot.size_bytes:
        raise PermanentError("image_too_big", update.slot.size_bytes)


def _check_release(device, new: Header) -> None:
    if new.release is None:
        raise PermanentError("no_release")
    if new.product != device.settings.product:
        raise PermanentError("other_product", new.product, device.settings.product)
    floor = max(device.record.floor, device.settings.floor)
    if new.release < floor:
        raise PermanentError("below_floor", new.release, floor)
    if not _is_at_least(new.micropython):
        raise PermanentError("old_micropython", new.micropython or "?", "{}.{}".format(*_MICROPYTHON_LEAST))


def _is_at_least(micropython: str) -> bool:
    parts = micropython.split(".")
    if len(parts) < 2 or not parts[0].isdigit() or not parts[1].isdigit():
        return False
    return (int(parts[0]), int(parts[1])) >= _MICROPYTHON_LEAST

"""May this image run here? Judged by its head before the first erase, and as a whole from flash after the last write.

The format is Espressif's app image: a 24-byte header, segments, a checksum, and a SHA-256 of all of it; the app
descriptor at offset 32 tells an app from a boot loader.
"""

import struct

from micropython import const

from .errors import BadImage

HEAD_BYTES = const(288)  # image header, first segment header, app descriptor

_MAGIC = const(0xE9)
_DESCRIPTOR_MAGIC = const(0xABCD5432)
_SEGMENTS_MAX = const(16)
_HASH_BYTES = const(32)
_CHIPS = {
    0: "ESP32",
    2: "ESP32-S2",
    5: "ESP32-C3",
    9: "ESP32-S3",
    12: "ESP32-C2",
    13: "ESP32-C6",
    16: "ESP32-H2",
}


def check_head(head, running_head) -> None:
    """Judge an image by its first HEAD_BYTES, next to the running image's. BadImage says what is wrong with it."""
    if len(head) < HEAD_BYTES or head[0] != _MAGIC:
        raise BadImage("not_an_image", f"the firmware is no ESP32 image (it begins with {_hex(head[:4])})")
    if not 1 <= head[1] <= _SEGMENTS_MAX:
        raise BadImage("bad_segments", f"the firmware's header names {head[1]} segments")
    chip = _chip(head)
    if chip != _chip(running_head):
        names = [_CHIPS.get(number, f"chip {number}") for number in (chip, _chip(running_head))]
        raise BadImage("wrong_chip", f"the firmware is for {names[0]}, this board is {names[1]}")
    if struct.unpack_from("<I", head, 32)[0] != _DESCRIPTOR_MAGIC:
        raise BadImage("not_an_app", "the firmware has no app descriptor: publish the app alone, not a combined image")
    secure, running_secure = _secure_version(head), _secure_version(running_head)
    if secure < running_secure:
        raise BadImage(
            "older_secure_version", f"the firmware's secure version is {secure}, not {running_secure} or later"
        )
    if head[23] != 1:
        raise BadImage("no_hash", "the firmware has no SHA-256 at its end")


def too_big(slot_bytes: int) -> BadImage:
    """The error for an image that does not fit its slot."""
    return BadImage("image_too_big", f"the firmware is larger than the slot's {slot_bytes} bytes")


def check_slot(slot, size_bytes: "int | None", buffer) -> None:
    """Judge the image in `slot` as a whole, read back from flash. BadImage when it is not what its hash says.

    `size_bytes` is how many bytes were written, None when only the image itself can tell; `buffer` is one sector of
    scratch memory."""
    import hashlib

    end = _hash_at(slot, slot.info()[3] if size_bytes is None else size_bytes)
    if size_bytes is not None and end + _HASH_BYTES != size_bytes:
        raise BadImage(
            "wrong_length",
            f"the firmware is {size_bytes} bytes long, its segments say {end + _HASH_BYTES}",
        )
    digest = hashlib.sha256()
    view = memoryview(buffer)
    sector_bytes = len(buffer)
    for block in range((end + sector_bytes - 1) // sector_bytes):
        part = view[: min(sector_bytes, end - block * sector_bytes)]
        slot.readblocks(block, part, 0)
        digest.update(part)
    appended = view[:_HASH_BYTES]
    slot.readblocks(end // sector_bytes, appended, end % sector_bytes)
    if digest.digest() != bytes(appended):
        raise BadImage("wrong_hash", "the firmware on flash does not match its SHA-256")


def fingerprint(slot) -> str:
    """What tells the image in `slot` from others: half of its descriptor's ELF SHA-256, in hex (32 characters)."""
    part = bytearray(16)
    slot.readblocks(0, part, 0xB0)
    return _hex(part)


def _hash_at(slot, limit_bytes: int) -> int:
    """Where the image's appended SHA-256 begins: after its segments, its checksum, and the padding to 16."""
    header = bytearray(8)
    slot.readblocks(0, header, 0)
    at = 24
    for _ in range(header[1]):
        if at + 8 > limit_bytes:
            break
        slot.readblocks(at // 4096, header, at % 4096)
        at += 8 + struct.unpack("<II", header)[1]
    at = (at + 16) // 16 * 16
    if at + _HASH_BYTES > limit_bytes:
        raise BadImage("truncated", "the firmware ends before its segments do")
    return at


def _secure_version(head) -> int:
    return struct.unpack_from("<I", head, 36)[0]


def _chip(head) -> int:
    return struct.unpack_from("<H", head, 12)[0]


def _hex(data) -> str:
    return "".join(f"{byte:02x}" for byte in data)

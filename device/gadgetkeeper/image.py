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
_CHIPS = {0: "ESP32", 2: "ESP32-S2", 5: "ESP32-C3", 9: "ESP32-S3", 12: "ESP32-C2", 13: "ESP32-C6", 16: "ESP32-H2"}


def check_head(head, running_head, slot_bytes: int, size_bytes: "int | None") -> None:
    """Judge an image by its first HEAD_BYTES, next to the running image's. BadImage says what is wrong with it.

    `size_bytes` is what the server announced, None when it did not."""
    if len(head) < HEAD_BYTES or head[0] != _MAGIC:
        raise BadImage("not_an_image", "the firmware is no ESP32 image (it begins with {})".format(_hex(head[:4])))
    if not 1 <= head[1] <= _SEGMENTS_MAX:
        raise BadImage("bad_segments", "the firmware's header names {} segments".format(head[1]))
    chip = _chip(head)
    if chip != _chip(running_head):
        names = [_CHIPS.get(number, "chip {}".format(number)) for number in (chip, _chip(running_head))]
        raise BadImage("wrong_chip", "the firmware is for {}, this board is {}".format(names[0], names[1]))
    if struct.unpack_from("<I", head, 32)[0] != _DESCRIPTOR_MAGIC:
        raise BadImage("not_an_app", "the firmware has no app descriptor: publish the app alone, not a combined image")
    if head[23] != 1:
        raise BadImage("no_hash", "the firmware has no SHA-256 at its end")
    if size_bytes is not None and size_bytes > slot_bytes:
        raise too_big(slot_bytes)


def too_big(slot_bytes: int) -> BadImage:
    """The error for an image that does not fit its slot."""
    return BadImage("image_too_big", "the firmware is larger than the slot's {} bytes".format(slot_bytes))


def check_slot(slot, size_bytes: int, buffer) -> str:
    """Judge the image of `size_bytes` in `slot` as a whole, read back from flash; its SHA-256 in hex.

    `buffer` is one sector of scratch memory. BadImage when it is not whole or not what its hash says."""
    import hashlib

    end = _end_of_segments(slot, size_bytes)
    end = (end + 16) // 16 * 16  # the checksum is the last byte of the padding to 16
    if end + _HASH_BYTES != size_bytes:
        raise BadImage(
            "wrong_length", "the firmware is {} bytes long, its segments say {}".format(size_bytes, end + _HASH_BYTES)
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
    return _hex(appended)


def fingerprint(slot) -> str:
    """What tells the image in `slot` from others: half of its descriptor's ELF SHA-256, in hex (32 characters)."""
    part = bytearray(16)
    slot.readblocks(0, part, 0xB0)
    return _hex(part)


def _end_of_segments(slot, size_bytes: int) -> int:
    header = bytearray(8)
    slot.readblocks(0, header, 0)
    at = 24
    for _ in range(header[1]):
        if at + 8 > size_bytes:
            raise BadImage("truncated", "the firmware ends within its segments")
        slot.readblocks(at // 4096, header, at % 4096)
        length = struct.unpack("<II", header)[1]
        at += 8 + length
    if at > size_bytes:
        raise BadImage("truncated", "the firmware ends within its segments")
    return at


def _chip(head) -> int:
    return struct.unpack_from("<H", head, 12)[0]


def _hex(data) -> str:
    return "".join("{:02x}".format(byte) for byte in data)

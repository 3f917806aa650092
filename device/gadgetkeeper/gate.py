"""May this image run here? The first judgement, by its head alone, before anything is erased for it.

The format is Espressif's app image: a 24-byte header, the first segment's 8 bytes, and at offset 32 the app descriptor,
which tells an app from a boot loader.
"""

import binascii
import struct

from micropython import const

from .errors import FinalError, RetryableError

_HEAD_BYTES = const(288)  # image header, first segment header, app descriptor

_DESCRIPTOR_MAGIC = const(0xABCD5432)


def check_head(head, size_bytes: int, slot, running, revision: "int | None") -> None:
    """Judge an image by its first 288 bytes. FinalError says what is wrong with it; RetryableError when they are not
    all there.

    It will have `size_bytes` at least, in `slot`; `running` is the slot of the running firmware, for the same chip and
    with a secure version to keep; `revision` is the chip's (major * 100 + minor), None where it cannot be told."""
    mine = bytearray(40)
    running.readblocks(0, mine, 0)
    if head and head[0] != 0xE9:
        raise FinalError("not_an_image", binascii.hexlify(head[:4]).decode())
    if len(head) < _HEAD_BYTES:
        raise RetryableError("truncated", "head")
    if not 1 <= head[1] <= 16:
        raise FinalError("bad_segments", head[1])
    chip, _, needs = struct.unpack_from("<HBH", head, 12)
    mine_chip, _, least = struct.unpack_from("<H22sI", mine, 12)
    if chip != mine_chip:
        raise FinalError("wrong_chip", chip, mine_chip)
    if revision is not None and needs > revision:
        raise FinalError("newer_chip", needs, revision)
    first_bytes, magic, secure = struct.unpack_from("<III", head, 28)
    if magic != _DESCRIPTOR_MAGIC:
        raise FinalError("not_an_app")
    if secure < least:
        raise FinalError("older_secure_version", secure, least)
    if head[23] != 1:
        raise FinalError("no_hash")
    if max(first_bytes, size_bytes) > slot.info()[3]:
        raise FinalError("image_too_big", slot.info()[3])

"""May this image run here? The first judgement, by its head alone, before anything is erased for it.

The format is Espressif's app image: a 24-byte header, the first segment's 8 bytes, and at offset 32 the app descriptor,
which tells an app from a boot loader.
"""

import binascii
import struct

from micropython import const

from .errors import FinalError

HEAD_BYTES = const(288)  # image header, first segment header, app descriptor

_DESCRIPTOR_MAGIC = const(0xABCD5432)


def check_head(head, size_bytes: int, slot_bytes: int, running, revision: "int | None") -> None:
    """Judge an image by its first HEAD_BYTES. FinalError says what is wrong with it.

    It will have `size_bytes` at least, in a slot of `slot_bytes`; `running` is the slot of the running firmware, for
    the same chip and with a secure version to keep; `revision` is the chip's (major * 100 + minor), None where it
    cannot be told."""
    mine = bytearray(40)
    running.readblocks(0, mine, 0)
    if len(head) < HEAD_BYTES or head[0] != 0xE9:
        raise FinalError("not_an_image", binascii.hexlify(head[:4]).decode())
    if not 1 <= head[1] <= 16:
        raise FinalError("bad_segments", head[1])
    chip, mine_chip = struct.unpack_from("<H", head, 12)[0], struct.unpack_from("<H", mine, 12)[0]
    if chip != mine_chip:
        raise FinalError("wrong_chip", chip, mine_chip)
    needs = struct.unpack_from("<H", head, 15)[0]
    if revision is not None and needs > revision:
        raise FinalError("newer_chip", needs, revision)
    if struct.unpack_from("<I", head, 32)[0] != _DESCRIPTOR_MAGIC:
        raise FinalError("not_an_app")
    secure, least = struct.unpack_from("<I", head, 36)[0], struct.unpack_from("<I", mine, 36)[0]
    if secure < least:
        raise FinalError("older_secure_version", secure, least)
    if head[23] != 1:
        raise FinalError("no_hash")
    if max(struct.unpack_from("<I", head, 28)[0], size_bytes) > slot_bytes:
        raise FinalError("image_too_big", slot_bytes)

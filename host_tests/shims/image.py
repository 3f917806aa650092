"""Whether the chip would start the image in a partition: esp_image_verify's checks, for an ESP32."""

import hashlib
import struct

CHIP_ID = 0  # ESP32
CHIP_REVISION = 301  # v3.1
_BLOCK_BYTES = 4096


def problem(flash, address, limit_bytes):
    """What is wrong with the image at `address`, at most `limit_bytes` long; None when the chip would start it."""
    header = flash.read(address, 24)
    if header[0] != 0xE9:
        return "no image"
    if not 1 <= header[1] <= 16:
        return "bad segment count"
    chip, _, revision_min, revision_max = struct.unpack_from("<HBHH", header, 12)
    if chip != CHIP_ID:
        return "for another chip"
    if revision_min > CHIP_REVISION:
        return "needs a newer chip revision"
    if revision_max not in (0, 0xFFFF) and revision_max < CHIP_REVISION:
        return "needs an older chip revision"
    digest = hashlib.sha256()
    digest.update(header)
    checksum = 0xEF
    at = 24
    for _ in range(header[1]):
        if at + 8 > limit_bytes:
            return "segment past the end"
        segment = flash.read(address + at, 8)
        digest.update(segment)
        length = struct.unpack("<II", segment)[1]
        at += 8
        if length % 4 or at + length > limit_bytes:
            return "segment past the end"
        end = at + length
        while at < end:
            data = flash.read(address + at, min(_BLOCK_BYTES, end - at))
            digest.update(data)
            checksum ^= _xor(data)
            at += len(data)
    padded = (at + 16) // 16 * 16
    if padded + 32 > limit_bytes:
        return "segment past the end"
    padding = flash.read(address + at, padded - at)
    digest.update(padding)
    if padding[-1] != checksum:
        return "wrong checksum"
    if header[23] == 1 and digest.digest() != bytes(flash.read(address + padded, 32)):
        return "wrong hash"
    return None


def _xor(data):
    """All bytes of `data` xored; folded as big numbers, because a loop over bytes takes seconds per image."""
    number = int.from_bytes(data, "little")
    bits = len(data) * 8
    while bits > 8:
        half = (bits // 8 + 1) // 2 * 8
        number = (number >> half) ^ (number & ((1 << half) - 1))
        bits = half
    return number

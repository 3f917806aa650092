"""App images: made small, and judged as the chip does (esp_image_verify's checks, for an ESP32)."""

import hashlib
import struct

CHIP_ID = 0  # ESP32
CHIP_REVISION = 301  # v3.1
_BLOCK_BYTES = 4096


def make_image(seed, size_bytes=9000, chip_id=CHIP_ID, segments=2, magic=0xABCD5432, hashed=1, secure=0, revision=0):
    """Make an app image of about `size_bytes`, which the chip would start unless asked otherwise. Each seed has an
    image of its own, of which no two parts are alike."""
    first = struct.pack("<II", magic, secure) + _noise(seed, 248)
    second = _noise(seed + 256, size_bytes // 4 * 4)
    body = struct.pack("<BBBBI", 0xE9, segments, 2, 0x20, 0x40080000) + bytes(4)
    body += struct.pack("<HBHH", chip_id, 0, revision, 0xFFFF) + bytes(4) + bytes([hashed])
    body += struct.pack("<II", 0x3F400000, len(first)) + first + struct.pack("<II", 0x400D0000, len(second)) + second
    body += bytes(15 - len(body) % 16) + bytes([0xEF ^ _xor(first) ^ _xor(second)])
    return body + hashlib.sha256(body).digest()


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


def _noise(seed, size_bytes):
    """Bytes that look random, the same on every runtime."""
    blocks = (hashlib.sha256(struct.pack("<II", seed, number)).digest() for number in range(-(-size_bytes // 32)))
    return b"".join(blocks)[:size_bytes]


def _xor(data):
    """All bytes of `data` xored; folded as big numbers, because a loop over bytes takes seconds per image."""
    number = int.from_bytes(data, "little")
    bits = len(data) * 8
    while bits > 8:
        half = (bits // 8 + 1) // 2 * 8
        number = (number >> half) ^ (number & ((1 << half) - 1))
        bits = half
    return number

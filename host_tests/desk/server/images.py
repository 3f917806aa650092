"""Firmware of any size that a device would take, made in memory."""

import hashlib
import struct

SMALLEST_BYTES = 336
_BESIDES_BYTES = 24 + 8 + 32  # header, the segment's head, SHA-256
_DESCRIPTOR = (struct.pack("<II8x32s32s", 0xABCD5432, 0, b"1 1.27.0", b"Thermometer")).ljust(256, b"\0")


def app(size_bytes: int, seed: int = 0) -> bytes:
    """An app image of so many bytes, a multiple of 16, that is not the same at any two places."""
    assert size_bytes % 16 == 0 and size_bytes >= SMALLEST_BYTES
    # The checksum is the last byte of a block of 16, so the data ends a word before it at the latest.
    data_bytes = size_bytes - _BESIDES_BYTES - 4
    noise = b"".join(
        hashlib.sha256(struct.pack("<II", seed, number)).digest() for number in range(data_bytes // 32 + 1)
    )
    data = (_DESCRIPTOR + noise)[:data_bytes]
    header = struct.pack("<BBBBI", 0xE9, 1, 2, 0x20, 0x40080000) + bytes(15) + b"\x01"
    body = header + struct.pack("<II", 0x3F400020, len(data)) + data
    checksum = 0xEF
    for byte in data:
        checksum ^= byte
    body = body.ljust(size_bytes - 33, b"\0") + bytes([checksum])
    return body + hashlib.sha256(body).digest()

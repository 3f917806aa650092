"""Releases of any size that a device would take, made in memory; nothing in them can be executed."""

import hashlib
import json
import struct

from tools import release

_MANIFEST = {"product": "Thermometer", "release": 1, "micropython": "1.27.0", "app": "thermometer"}
_FILES = dict.fromkeys(("/main.py", "/agent/loop.py", "/board/__init__.py", "/thermometer.py"), b"pass\n")


def bundle_of(**manifest: object) -> bytes:
    """The bundle of a release whose manifest says this besides the usual."""
    return release.bundle({**_FILES, "/manifest.json": json.dumps(_MANIFEST | manifest).encode()})


_BUNDLE = bundle_of()
_BESIDES_BYTES = 24 + 8 + 8 + 32  # header, the segments' heads, SHA-256
_DESCRIPTOR_BYTES = 256


def app(
    size_bytes: int,
    seed: int = 0,
    bundle: bytes = _BUNDLE,
    zeros_bytes: int = 0,
    product: str = "Thermometer",
    number: int = 1,
) -> bytes:
    """A release image of so many bytes, a multiple of 16, that is not the same at any two places, but for so many zeros
    in the middle; with another `bundle`, no device takes it."""
    assert size_bytes % 16 == 0
    # The checksum is the last byte of a block of 16, so the data ends a word before it at the latest.
    data_bytes = size_bytes - _BESIDES_BYTES - len(bundle) - 4
    assert data_bytes >= _DESCRIPTOR_BYTES
    names = (f"{number} 1.27.0".encode(), product.encode())
    descriptor = struct.pack("<II8x32s32s", 0xABCD5432, 0, *names).ljust(_DESCRIPTOR_BYTES, b"\0")
    noise = bytes(zeros_bytes) + b"".join(
        hashlib.sha256(struct.pack("<II", seed, number)).digest() for number in range(data_bytes // 32 + 1)
    )
    data = (descriptor + noise)[:data_bytes]
    header = struct.pack("<BBBBI", 0xE9, 2, 2, 0x20, 0x40080000) + bytes(15) + b"\x01"
    body = header + struct.pack("<II", 0x3F400020, len(data)) + data + struct.pack("<II", 0, len(bundle)) + bundle
    checksum = 0xEF
    for byte in data + bundle:
        checksum ^= byte
    body = body.ljust(size_bytes - 33, b"\0") + bytes([checksum])
    return body + hashlib.sha256(body).digest()


def bundle_without(path: str) -> bytes:
    """The bundle, with one of its files missing."""
    files = {**_FILES, "/manifest.json": json.dumps(_MANIFEST).encode()}
    return release.bundle({name: content for name, content in files.items() if name != path})

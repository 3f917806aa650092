"""App images: made small, and judged as the chip does (esp_image_verify's checks, for an ESP32)."""

import binascii
import hashlib
import json
import struct

CHIP_ID = 0  # ESP32
CHIP_REVISION = 301  # v3.1
FOLDER = 0xFFFFFFFF  # as a size in a bundle's index
_BLOCK_BYTES = 4096


def make_image(
    seed,
    size_bytes=9000,
    chip_id=CHIP_ID,
    segments=3,
    magic=0xABCD5432,
    hashed=1,
    secure=0,
    revision=0,
    release=None,
    product="Thermometer",
    micropython="1.27.0",
    files=None,
    bundle=None,
):
    """Make a release's app image of about `size_bytes`, which the chip would start and a device take unless asked
    otherwise. Each seed has an image of its own, of which no two parts are alike; the release's number is the seed's,
    unless `release` says another. `files` are the bundle's (default: those that a device looks for); or
    `bundle` is the bundle itself."""
    number = seed if release is None else release
    first = struct.pack("<II", magic, secure) + bytes(8) + _text(f"{number} {micropython}") + _text(product)
    first += _noise(seed, 256 - len(first))
    second = _noise(seed + 256, size_bytes // 4 * 4)
    third = bundle
    if third is None:
        third = make_bundle(bundle_files(number, product) if files is None else files)
    body = struct.pack("<BBBBI", 0xE9, segments, 2, 0x20, 0x40080000) + bytes(4)
    body += struct.pack("<HBHH", chip_id, 0, revision, 0xFFFF) + bytes(4) + bytes([hashed])
    checksum = 0xEF
    for address, data in ((0x3F400000, first), (0x400D0000, second), (0, third)):
        body += struct.pack("<II", address, len(data)) + data
        checksum ^= _xor(data)
    body += bytes(15 - len(body) % 16) + bytes([checksum])
    return body + hashlib.sha256(body).digest()


def bundle_files(number, product="Thermometer", **manifest):
    """The least that a device takes for a bundle: a manifest, and the modules that boot.py and main.py need."""
    members = {"product": product, "release": number, "app": "thermometer"}
    members.update(manifest)
    return {
        "/manifest.json": json.dumps(members).encode(),
        "/main.py": b"",
        "/thermometer.py": b"",
        "/agent/loop.py": b"",
        "/board/__init__.py": b"",
    }


def make_bundle(files):
    """Make a bundle of these files as boot.py reads it: behind a ROMFS's first bytes their contents, and the index."""
    content = b"\xd2\xcd\x31\x80"
    index = {}
    for path, data in files.items():
        folder = path.rpartition("/")[0]
        while folder:
            index[folder] = 0, FOLDER
            folder = folder.rpartition("/")[0]
        index[path] = len(content), len(data)
        content += data
    content += bytes(-len(content) % 4)
    for path, (start, size_bytes) in index.items():
        content += struct.pack("<III", binascii.crc32(path.encode()), start, size_bytes)
    return content + struct.pack("<I", len(index))


def _text(text):
    encoded = text.encode()
    return encoded + bytes(32 - len(encoded))


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

"""Patches made by hand, byte for byte as docs/patch-format.md says, with nothing of the tool that makes real ones."""

import binascii
import hashlib
import struct

BLOCK_BYTES = 4096


def pattern(size_bytes, seed=1):
    """Bytes without any order, the same for the same seed."""
    data = b""
    while len(data) < size_bytes:
        data += hashlib.sha256(struct.pack("<II", seed, len(data))).digest()
    return data[:size_bytes]


def command(seek=0, copy_bytes=0, pairs=b"", inserted=b""):
    """One command: copy, add differences, insert."""
    return struct.pack("<iHHH", seek, copy_bytes, len(pairs) // 2, len(inserted)) + pairs + inserted


def stored(data):
    """As deflate's stored blocks, which need no compressor; the stream goes on."""
    packed = b""
    for at in range(0, len(data), 0xFFFF):
        piece = data[at : at + 0xFFFF]
        packed += struct.pack("<BHH", 0, len(piece), len(piece) ^ 0xFFFF) + piece
    return packed


def bits_to_bytes(bits):
    """The bits in the order in which deflate reads them."""
    bits += "0" * (-len(bits) % 8)
    return bytes([int("".join(reversed(bits[at : at + 8])), 2) for at in range(0, len(bits), 8)])


def zeros(count):
    """1 + 258 x `count` zeros as deflate's fixed codes, 13 bits for each 258; the stream ends there."""
    return bits_to_bytes("110" + "00110000" + "1100010100000" * count + "0000000")


END = b"\x01\x00\x00\xff\xff"


class Patch:
    """A patch that can be made wrong in one place: change a member, then take `data()`."""

    def __init__(self, base, image, blocks):
        self.magic, self.version = b"GKP", 1
        self.base_bytes, self.size_bytes, self.block_sectors, self.window_bits = len(base), len(image), 1, 12
        self.base_sha256 = hashlib.sha256(base).digest() if base else bytes(32)
        self.sha256 = hashlib.sha256(image).digest()
        self.blocks = [stored(block) for block in blocks]
        self.blocks[-1] += END
        self.offsets = [80 + 4 * len(blocks) + 8]
        for block in self.blocks:
            self.offsets.append(self.offsets[-1] + len(block))
        self.crc_change = 0

    def data(self):
        """The patch's bytes."""
        sizes = struct.pack("<IIHH", self.base_bytes, self.size_bytes, self.block_sectors, self.window_bits)
        head = self.magic + bytes([self.version]) + sizes + self.base_sha256 + self.sha256
        head += b"".join([struct.pack("<I", offset) for offset in self.offsets])
        return head + struct.pack("<I", binascii.crc32(head) ^ self.crc_change) + b"".join(self.blocks)

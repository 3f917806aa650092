"""Signed images for the fuzzer, the same for every run: key and salt come from a seed, which no signing tool allows."""

import hashlib
import math
import random
import struct
import zlib

SECTOR_BYTES = 4096
BLOCK_BYTES = 1216
_KEY_BYTES = 384
_EXPONENT = 65537
_PRIMES = 12


class SeededKey:
    """An RSA-3072 key that is good for nothing but tests: its modulus has twelve primes, which are found in a moment,
    instead of two. `digest` is what a device would trust it by."""

    def __init__(self, seed: int) -> None:
        draw = random.Random(seed)
        self._primes = [_prime(draw) for _ in range(_PRIMES)]
        self.modulus = math.prod(self._primes)
        self._blocks: dict[bytes, bytes] = {}
        self._salt = draw.randbytes(32)
        self.numbers = self.modulus.to_bytes(_KEY_BYTES, "little") + struct.pack("<I", _EXPONENT)
        self.numbers += pow(2, 2 * 8 * _KEY_BYTES, self.modulus).to_bytes(_KEY_BYTES, "little")
        self.numbers += struct.pack("<I", -pow(self.modulus, -1, 1 << 32) & 0xFFFFFFFF)
        self.digest = hashlib.sha256(self.numbers).hexdigest()

    def block(self, digest: bytes) -> bytes:
        """A signature block for an image with this SHA-256 (RFC 8017, 9.1.1, with a salt of 32 bytes)."""
        if digest not in self._blocks:
            self._blocks[digest] = self._make_block(digest)
        return self._blocks[digest]

    def sign(self, image: bytes) -> bytes:
        """The image as `espsecure sign-data --version 2` would leave it."""
        padded = image + b"\xff" * (-len(image) % SECTOR_BYTES)
        return padded + self.block(hashlib.sha256(padded).digest()).ljust(SECTOR_BYTES, b"\xff")

    def _make_block(self, digest: bytes) -> bytes:
        seal = hashlib.sha256(bytes(8) + digest + self._salt).digest()
        data = bytes(318) + b"\x01" + self._salt
        mask = b"".join(hashlib.sha256(seal + struct.pack(">I", count)).digest() for count in range(11))
        masked = bytearray(one ^ other for one, other in zip(data, mask, strict=False))
        masked[0] &= 0x7F
        number = self._decrypt(int.from_bytes(bytes(masked) + seal + b"\xbc", "big"))
        block = b"\xe7\x02\0\0" + digest + self.numbers + number.to_bytes(_KEY_BYTES, "little")
        return block + struct.pack("<I", zlib.crc32(block)) + bytes(16)

    def _decrypt(self, message: int) -> int:
        """The private operation, by the Chinese remainder theorem."""
        total = 0
        for prime in self._primes:
            others = self.modulus // prime
            part = pow(message, pow(_EXPONENT, -1, prime - 1), prime)
            total += part * pow(others, -1, prime) * others
        return total % self.modulus


def _prime(draw: random.Random) -> int:
    """A prime of 256 bits, the upper eight set, with p - 1 prime to the exponent."""
    while True:
        number = draw.getrandbits(256) | 0xFF << 248 | 1
        if number % _EXPONENT == 1 or any(number % factor == 0 for factor in (3, 5, 7, 11, 13, 17, 19, 23, 29, 31)):
            continue
        if all(_is_probable(number, draw.randrange(2, number - 1)) for _ in range(8)):
            return number


def _is_probable(number: int, base: int) -> bool:
    """Miller and Rabin's test."""
    odd, twos = number - 1, 0
    while odd % 2 == 0:
        odd, twos = odd // 2, twos + 1
    found = pow(base, odd, number)
    if found in (1, number - 1):
        return True
    for _ in range(twos - 1):
        found = found * found % number
        if found == number - 1:
            return True
    return False

"""Espressif's Secure Boot v2 signature: RSA-3072 with PSS and SHA-256, as `espsecure sign-data --version 2` makes it.

A sector behind the padded image holds up to three blocks, each with the image's SHA-256, a public key, its signature,
and a CRC-32. A key is known by the SHA-256 of its numbers as they stand in the block, like in the chip's own fuses.
"""

import binascii
import hashlib
import struct

from agent.errors import AgentError, PermanentError, RetryableError
from micropython import const

_BLOCKS_MAX = const(3)
_BLOCK_BYTES = const(1216)
_KEY_BYTES = const(384)
_HASH_BYTES = const(32)
# In a block: magic and version, 2 bytes of 0, then
_DIGEST_AT = const(4)
_MODULUS_AT = const(36)
_EXPONENT_AT = const(420)
_SIGNATURE_AT = const(812)
_CRC_AT = const(1196)
# In an encoded message: the masked data block, 32 bytes of hash, 0xBC
_DATA_BYTES = const(351)
_ZEROS = const(318)  # in the data block, before a 1 and 32 bytes of salt


def check_signature(slot, sector_at: int, digest: bytes, trusted: "list[str]") -> None:
    """Check that the sector of signatures at byte `sector_at` of `slot` vouches with a trusted key for `digest`, the
    SHA-256 of the image before it. PermanentError when it does not; RetryableError when it is torn, or for another
    image."""
    damaged = None
    problem: AgentError = PermanentError("no_signature")
    block = memoryview(bytearray(_BLOCK_BYTES))
    for number in range(_BLOCKS_MAX):
        slot.read(sector_at + number * _BLOCK_BYTES, block)
        if block[0] != 0xE7 or block[1] != 0x02:
            break
        if binascii.crc32(block[:_CRC_AT]) != struct.unpack_from("<I", block, _CRC_AT)[0]:
            damaged = RetryableError("damaged_signature")
            continue
        if bytes(block[_DIGEST_AT:_MODULUS_AT]) != digest:
            raise RetryableError("wrong_hash")
        key = binascii.hexlify(hashlib.sha256(block[_MODULUS_AT:_SIGNATURE_AT]).digest()).decode()
        if key not in trusted:
            problem = PermanentError("unknown_key", key[:16])
        elif _is_signed(block, digest):
            return
        else:
            problem = PermanentError("bad_signature", key[:16])
    raise damaged or problem


def _is_signed(block: memoryview, digest: bytes) -> bool:
    """RSASSA-PSS-VERIFY (RFC 8017, 8.1.2 and 9.1.2) with a salt of 32 bytes."""
    modulus = int.from_bytes(block[_MODULUS_AT:_EXPONENT_AT], "little")
    exponent = struct.unpack_from("<I", block, _EXPONENT_AT)[0]
    number = int.from_bytes(block[_SIGNATURE_AT:_CRC_AT], "little")
    if number >= modulus:
        return False
    message = pow(number, exponent, modulus).to_bytes(_KEY_BYTES, "big")
    if message[0] & 0x80 or message[_KEY_BYTES - 1] != 0xBC:
        return False
    seal = message[_DATA_BYTES : _DATA_BYTES + _HASH_BYTES]
    mask = b"".join(
        hashlib.sha256(seal + bytes((0, 0, 0, count))).digest() for count in range(_DATA_BYTES // _HASH_BYTES + 1)
    )
    number = int.from_bytes(message[:_DATA_BYTES], "big") ^ int.from_bytes(mask[:_DATA_BYTES], "big")
    data = bytearray(number.to_bytes(_DATA_BYTES, "big"))
    data[0] &= 0x7F  # the modulus has 3072 bits, the message one less
    if any(data[:_ZEROS]) or data[_ZEROS] != 1:
        return False
    return hashlib.sha256(bytes(8) + digest + data[_ZEROS + 1 :]).digest() == seal

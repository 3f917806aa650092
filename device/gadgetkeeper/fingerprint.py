"""What tells slots and images apart."""

import binascii

from micropython import const

_ELF_HASH_AT = const(0xB0)
_ELF_HASH_END = const(0xC0)


def label(slot) -> str:
    """The slot's name in the partition table, like "ota_1"."""
    return slot.info()[4]


def fingerprint_of(head) -> str:
    """What tells an image from others: half of its descriptor's ELF SHA-256, in hex (32 characters)."""
    return binascii.hexlify(head[_ELF_HASH_AT:_ELF_HASH_END]).decode()


def fingerprint(slot) -> str:
    """`fingerprint_of` the image in `slot`."""
    head = bytearray(_ELF_HASH_END)
    slot.readblocks(0, head, 0)
    return fingerprint_of(head)

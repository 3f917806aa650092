"""One OTA slot on flash."""

import binascii

from micropython import const

SECTOR_BYTES = const(4096)

_ERASE_BLOCK = const(6)  # of Partition.ioctl
# In an image: half of its descriptor's ELF SHA-256, which tells it from others
_ELF_HASH_AT = const(0xB0)
_FINGERPRINT_BYTES = const(16)


class Slot:
    """One OTA slot: its label in the partition table, like "ota_1", its size, and its bytes."""

    def __init__(self, partition) -> None:
        self.partition = partition
        _, self.subtype, self.address, self.size_bytes, self.label, _ = partition.info()

    def read(self, at: int, view) -> None:
        """Fill `view` with the bytes from byte `at` on."""
        self.partition.readblocks(at // SECTOR_BYTES, view, at % SECTOR_BYTES)

    def erase(self, at: int) -> None:
        """Erase the sector that begins at byte `at`. OSError when that fails."""
        self.partition.ioctl(_ERASE_BLOCK, at // SECTOR_BYTES)

    def program(self, at: int, view) -> None:
        """Write `view` from byte `at` on, to what has been erased. OSError when that fails."""
        self.partition.writeblocks(at // SECTOR_BYTES, view, at % SECTOR_BYTES)

    def fingerprint(self, head=None) -> str:
        """Return what tells the image in this slot, or one that begins with `head`, from others: 32 hex characters."""
        if head is None:
            head = bytearray(_ELF_HASH_AT + _FINGERPRINT_BYTES)
            self.read(0, head)
        return binascii.hexlify(head[_ELF_HASH_AT : _ELF_HASH_AT + _FINGERPRINT_BYTES]).decode()

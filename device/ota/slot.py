"""One OTA slot on flash."""

from micropython import const

SECTOR_BYTES = const(4096)
HELD_BACK_BYTES = const(32)  # an image without its first bytes is none to the boot loader

_ERASE_BLOCK = const(6)  # of Partition.ioctl


class Slot:
    """One OTA slot: its label in the partition table, like "ota_1", its size, and its bytes.

    `held_back` are the first bytes of an image that is not checked yet; None when they are on flash."""

    def __init__(self, partition) -> None:
        self.partition = partition
        _, self.subtype, self.address, self.size_bytes, self.label, _ = partition.info()
        self.held_back: bytes | None = None

    def read(self, at: int, view) -> None:
        """Fill `view` with the image's bytes from byte `at` on, those held back included."""
        self.partition.readblocks(at // SECTOR_BYTES, view, at % SECTOR_BYTES)
        if self.held_back and at < HELD_BACK_BYTES:
            part = self.held_back[at : at + len(view)]
            view[: len(part)] = part

    def erase(self, at: int) -> None:
        """Erase the sector that begins at byte `at`. OSError when that fails."""
        self.partition.ioctl(_ERASE_BLOCK, at // SECTOR_BYTES)

    def program(self, at: int, view) -> None:
        """Write `view` from byte `at` on, to what has been erased. OSError when that fails."""
        self.partition.writeblocks(at // SECTOR_BYTES, view, at % SECTOR_BYTES)

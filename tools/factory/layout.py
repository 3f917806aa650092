"""What lies where on the flash: the partition tables, for every flash size that holds two firmwares."""

import hashlib
import struct
from typing import NamedTuple

from tools.factory.errors import FactoryError

BOOTLOADER_ADDRESS = 0x1000
TABLE_ADDRESS = 0x8000
APP_ADDRESS = 0x10000
FLASH_BYTES = 4 << 20
FLASH_SIZES = {"4MB": 4 << 20, "8MB": 8 << 20, "16MB": 16 << 20}
"""The sizes that an ESP32 addresses and that hold two slots, as esptool names them."""

_ENTRY = "<HBBII16sI"
_ENTRY_BYTES = struct.calcsize(_ENTRY)
_TABLE_BYTES = 0xC00
_MAGIC = 0x50AA
_MD5_MAGIC = b"\xeb\xeb"
_APP, _DATA = 0, 1
_SLOT_BYTES_4MB = (
    0x1D0000  # leaves 320 KiB for files; MicroPython's table has 0x180000, too little for v1.27 even alone
)
_SLOT_BYTES = 0x270000  # MicroPython's for 8 MiB and more


FORMER_SLOT_BYTES = 0x1C0000
"""What a slot of a 4 MiB flash was until November 2026, beside 448 KiB for files. A board keeps its table for life."""


class Partition(NamedTuple):
    """One row of the partition table (ESP-IDF, "Partition Tables")."""

    label: str
    type: int
    subtype: int
    address: int
    size: int


def layout(flash_bytes: int = FLASH_BYTES, slot_bytes: int | None = None) -> list[Partition]:
    """The OTA partitions for a flash of this size, with slots of `slot_bytes` if not of the factory's. FactoryError
    when it is too small for two slots."""
    if flash_bytes < FLASH_BYTES:
        raise FactoryError(f"a flash of {flash_bytes >> 20} MiB is too small for two firmwares: 4 MiB is the least")
    slot_bytes = slot_bytes or (_SLOT_BYTES_4MB if flash_bytes == FLASH_BYTES else _SLOT_BYTES)
    vfs_address = APP_ADDRESS + 2 * slot_bytes
    return [
        Partition("nvs", _DATA, 2, 0x9000, 0x4000),
        Partition("otadata", _DATA, 0, 0xD000, 0x2000),
        Partition("phy_init", _DATA, 1, 0xF000, 0x1000),
        Partition("ota_0", _APP, 0x10, APP_ADDRESS, slot_bytes),
        Partition("ota_1", _APP, 0x11, APP_ADDRESS + slot_bytes, slot_bytes),
        Partition("vfs", _DATA, 0x81, vfs_address, flash_bytes - vfs_address),
    ]


LAYOUT = layout()
FORMER_LAYOUT = layout(slot_bytes=FORMER_SLOT_BYTES)
"""A board's that was made before; also one with room for an agent that is deployed as files."""


def partition_table(partitions: list = LAYOUT) -> bytes:
    """The partition table as it lies at 0x8000, with the MD5 that ESP-IDF's boot loader checks."""
    table = b"".join(
        struct.pack(_ENTRY, _MAGIC, kind, subtype, address, size, label.encode(), 0)
        for label, kind, subtype, address, size in partitions
    )
    return table + _MD5_MAGIC + b"\xff" * 14 + hashlib.md5(table).digest()


def place(label: str, partitions: list[Partition]) -> Partition:
    """The partition of this name. FactoryError when there is none."""
    for partition in partitions:
        if partition.label == label:
            return partition
    raise FactoryError(f"it has no partition {label}")


def read_table(image: bytes) -> list[Partition]:
    """The partitions of a flash image, whenever it was made."""
    partitions = []
    for at in range(TABLE_ADDRESS, min(TABLE_ADDRESS + _TABLE_BYTES, len(image) - _ENTRY_BYTES), _ENTRY_BYTES):
        magic, kind, subtype, address, size, label, _ = struct.unpack_from(_ENTRY, image, at)
        if magic != _MAGIC:
            break
        partitions.append(Partition(label.rstrip(b"\0").decode("ascii", "replace"), kind, subtype, address, size))
    return partitions

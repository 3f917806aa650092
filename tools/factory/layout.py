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

_MAGIC = 0x50AA
_MD5_MAGIC = b"\xeb\xeb"
_APP, _DATA = 0, 1
_SLOT_BYTES_4MB = 0x1C0000  # MicroPython's own table has 0x180000, which v1.27 does not fit into
_SLOT_BYTES = 0x270000  # MicroPython's for 8 MiB and more


class Partition(NamedTuple):
    """One row of the partition table (ESP-IDF, "Partition Tables")."""

    label: str
    type: int
    subtype: int
    address: int
    size: int


def layout(flash_bytes: int = FLASH_BYTES) -> list[Partition]:
    """The OTA partitions for a flash of this size. FactoryError when it is too small for two slots."""
    if flash_bytes < FLASH_BYTES:
        raise FactoryError(f"a flash of {flash_bytes >> 20} MiB is too small for two firmwares: 4 MiB is the least")
    slot_bytes = _SLOT_BYTES_4MB if flash_bytes == FLASH_BYTES else _SLOT_BYTES
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


def partition_table(partitions: list = LAYOUT) -> bytes:
    """The partition table as it lies at 0x8000, with the MD5 that ESP-IDF's boot loader checks."""
    table = b"".join(
        struct.pack("<HBBII16sI", _MAGIC, kind, subtype, address, size, label.encode(), 0)
        for label, kind, subtype, address, size in partitions
    )
    return table + _MD5_MAGIC + b"\xff" * 14 + hashlib.md5(table).digest()

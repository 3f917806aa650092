"""The factory: flash images of thermometers that are ready to be sold, and the ways onto boards."""

from pathlib import Path

from tools.factory.errors import FactoryError
from tools.factory.image import (
    BLOCK_BYTES,
    LITTLEFS_VERSION,
    Parts,
    assemble,
    file_system,
    first_release,
    flash_image,
    read_files,
    read_parts,
)
from tools.factory.layout import (
    BOOTLOADER_ADDRESS,
    FLASH_BYTES,
    FLASH_SIZES,
    FORMER_LAYOUT,
    FORMER_SLOT_BYTES,
    LAYOUT,
    TABLE_ADDRESS,
    Partition,
    layout,
    partition_table,
    place,
    read_table,
)
from tools.factory.settings import own_files

ROOT = Path(__file__).resolve().parents[2]

__all__ = [
    "BLOCK_BYTES",
    "BOOTLOADER_ADDRESS",
    "FLASH_BYTES",
    "FLASH_SIZES",
    "FORMER_LAYOUT",
    "FORMER_SLOT_BYTES",
    "LAYOUT",
    "LITTLEFS_VERSION",
    "ROOT",
    "TABLE_ADDRESS",
    "FactoryError",
    "Partition",
    "Parts",
    "assemble",
    "file_system",
    "first_release",
    "flash_image",
    "layout",
    "own_files",
    "partition_table",
    "place",
    "read_files",
    "read_parts",
    "read_table",
]

"""What leaves the factory: a complete flash image with boot loader, OTA partition table, app and file system."""

import hashlib
import json
import struct
from pathlib import Path

from littlefs import LittleFS

from tools import firmware

ROOT = Path(__file__).resolve().parent.parent

FLASH_BYTES = 4 << 20
BOOTLOADER_ADDRESS = 0x1000
TABLE_ADDRESS = 0x8000
BLOCK_BYTES = 4096
LITTLEFS_VERSION = 0x00020000  # older boards cannot mount 2.1

# label, type, subtype, address, size: MicroPython's OTA table for 4 MiB with slots that v1.27 fits into
LAYOUT = [
    ("nvs", 1, 2, 0x9000, 0x4000),
    ("otadata", 1, 0, 0xD000, 0x2000),
    ("phy_init", 1, 1, 0xF000, 0x1000),
    ("ota_0", 0, 0x10, 0x10000, 0x1C0000),
    ("ota_1", 0, 0x11, 0x1D0000, 0x1C0000),
    ("vfs", 1, 0x81, 0x390000, 0x70000),
]


class FactoryError(Exception):
    """A flash image that cannot be made; the text says why."""


def partition_table(layout: list = LAYOUT) -> bytes:
    """The partition table as it lies at 0x8000, with the MD5 that ESP-IDF's boot loader checks."""
    table = b"".join(
        struct.pack("<HBBII16sI", 0x50AA, kind, subtype, address, size, label.encode(), 0)
        for label, kind, subtype, address, size in layout
    )
    return table + b"\xeb\xeb" + b"\xff" * 14 + hashlib.md5(table).digest()


def file_system(files: dict[str, bytes], size_bytes: int) -> bytes:
    """A littlefs of `size_bytes` holding `files` (absolute paths)."""
    lfs = LittleFS(
        block_size=BLOCK_BYTES,
        block_count=size_bytes // BLOCK_BYTES,
        read_size=32,
        prog_size=32,
        lookahead_size=32,
        disk_version=LITTLEFS_VERSION,
    )
    for path, content in sorted(files.items()):
        lfs.makedirs(str(Path(path).parent), exist_ok=True)
        with lfs.open(path, "wb") as file:
            file.write(content)
    return bytes(lfs.context.buffer)


def flash_image(combined: Path, files: dict[str, bytes], app: bytes | None = None) -> bytes:
    """A 4 MiB flash image: boot loader and app of an official combined image (or another `app`), and `files`."""
    app = firmware.extract_app(combined) if app is None else app
    image = bytearray(b"\xff" * FLASH_BYTES)
    places = {label: (address, size) for label, _, _, address, size in LAYOUT}
    address, size = places["ota_0"]
    if len(app) > size:
        raise FactoryError(f"the app is {len(app)} bytes long, its slot only {size}")
    bootloader = combined.read_bytes()[: TABLE_ADDRESS - BOOTLOADER_ADDRESS]
    table = partition_table()
    image[BOOTLOADER_ADDRESS : BOOTLOADER_ADDRESS + len(bootloader)] = bootloader
    image[TABLE_ADDRESS : TABLE_ADDRESS + len(table)] = table
    image[address : address + len(app)] = app
    address, size = places["vfs"]
    image[address : address + size] = file_system(files, size)
    return bytes(image)


def own_files(serial: str, server: str, **config: object) -> dict[str, bytes]:
    """What makes the board this one: its serial number, and its settings."""
    settings = json.dumps({"server": server, **config}, indent=1)
    return {"/serial.txt": serial.encode() + b"\n", "/config.json": settings.encode() + b"\n"}

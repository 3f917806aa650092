"""The flash image: boot loader, partition table, app and file system, merged by esptool and littlefs."""

import re
from dataclasses import dataclass
from pathlib import Path

from littlefs import LittleFS, LittleFSError

from tools import espressif, firmware, release
from tools.factory.errors import FactoryError
from tools.factory.layout import (
    APP_ADDRESS,
    BOOTLOADER_ADDRESS,
    FLASH_BYTES,
    FLASH_SIZES,
    TABLE_ADDRESS,
    Partition,
    layout,
    partition_table,
    place,
    read_table,
)
from tools.littlefs_memory import BLOCK_BYTES, littlefs

LITTLEFS_VERSION = 0x00020000  # older boards cannot mount 2.1
_MICROPYTHON = re.compile(rb"MicroPython v(\d+\.\d+(?:\.\d+)?)")
_HASH_BYTES = 32
_FINGERPRINT_BYTES = 16


@dataclass(frozen=True)
class Parts:
    """What a firmware file is made of. `micropython` is its version like "1.27.0", None when the app does not say."""

    bootloader: bytes
    app: bytes
    micropython: str | None

    @property
    def fingerprint(self) -> str:
        """What the agent tells this app from others by: half of its SHA-256, in hex."""
        return espressif.read_image(self.app, "the app").data[-_HASH_BYTES:][:_FINGERPRINT_BYTES].hex()


def read_parts(path: Path, bootloader: Path | None = None) -> Parts:
    """The parts of a combined MicroPython image, or of an app image and a boot loader's. FactoryError when one of
    them is missing, damaged, or for another chip."""
    data = _read(path)
    try:
        first = espressif.read_image(data, str(path))
        if first.is_app and bootloader is None:
            raise FactoryError(f"{path} is an app alone: name its boot loader with BOOTLOADER=…")
        if first.is_app:
            loader = espressif.read_image(_read(bootloader), str(bootloader))
            app_data, name = data, str(path)
        else:
            loader = first if bootloader is None else espressif.read_image(_read(bootloader), str(bootloader))
            app_data, name = firmware.extract_app(path), f"{path}: its app"
        app = espressif.read_image(app_data, name)
    except (espressif.ImageError, firmware.FirmwareError) as error:
        raise FactoryError(str(error)) from error
    if loader.is_app:
        raise FactoryError(f"{bootloader} is an app, not a boot loader")
    if len(loader.data) > TABLE_ADDRESS - BOOTLOADER_ADDRESS:
        raise FactoryError(f"the boot loader is {len(loader.data)} bytes long and would reach into the partition table")
    version = _MICROPYTHON.search(app.data)
    return Parts(loader.data, app_data, version[1].decode() if version else None)


def file_system(files: dict[str, bytes], size_bytes: int) -> bytes:
    """A littlefs of `size_bytes` holding `files` (absolute paths). FactoryError when they do not fit."""
    erased = bytearray(b"\xff") * (size_bytes // BLOCK_BYTES * BLOCK_BYTES)
    lfs = littlefs(erased, read_size=32, prog_size=32, lookahead_size=32, disk_version=LITTLEFS_VERSION)
    lfs.format()
    lfs.mount()
    try:
        for path, content in sorted(files.items()):
            lfs.makedirs(str(Path(path).parent), exist_ok=True)
            with lfs.open(path, "wb") as file:
                file.write(content)
    except LittleFSError as error:
        raise FactoryError(f"the files do not fit into the file system of {size_bytes} bytes: {error}") from error
    return bytes(lfs.context.buffer)


def used_bytes(vfs: bytes) -> int:
    """How much of a littlefs is in use."""
    return _mounted(vfs).used_block_count * BLOCK_BYTES


def read_files(image: bytes) -> dict[str, bytes]:
    """The files in the vfs of a flash image, by path. FactoryError when it holds none."""
    try:
        vfs = place("vfs", read_table(image))
        lfs = _mounted(image[vfs.address : vfs.address + vfs.size])
        return {
            f"{folder.rstrip('/')}/{name}": lfs.open(f"{folder.rstrip('/')}/{name}", "rb").read()
            for folder, _, names in lfs.walk("/")
            for name in names
        }
    except (LittleFSError, FactoryError) as error:
        raise FactoryError(f"it is no flash image of a thermometer ({error})") from error


def first_release(image: bytes, name: str) -> release.Release:
    """The release that a flash image boots when it is new, in ota_0; `name` says whose image it is. FactoryError when
    that has no such slot, ReleaseError when there is no release in it."""
    slot = place("ota_0", read_table(image))
    return release.read_release(image[slot.address : slot.address + slot.size], name)


def flash_image(
    combined: Path,
    files: dict[str, bytes],
    app: bytes | None = None,
    flash_bytes: int = FLASH_BYTES,
    partitions: list[Partition] | None = None,
) -> bytes:
    """A flash image: boot loader and app of an official combined image (or another `app`), and `files`, in the
    factory's partitions or in others."""
    whole = combined.read_bytes()
    app = firmware.extract_app(combined) if app is None else app
    parts = Parts(whole[: TABLE_ADDRESS - BOOTLOADER_ADDRESS], app, None)
    return assemble(parts, files, flash_bytes, partitions)


def assemble(
    parts: Parts, files: dict[str, bytes], flash_bytes: int = FLASH_BYTES, partitions: list[Partition] | None = None
) -> bytes:
    """The complete flash image of these parts and files, in the factory's partitions or in others. FactoryError when
    the app or the files do not fit.

    otadata, nvs and phy_init stay blank: with blank otadata the boot loader starts ota_0 and writes the first record
    itself, as after ESP-IDF's own `ota_data_initial.bin`, and the radio fills the other two."""
    from esptool.cmds import merge_bin

    partitions = partitions or layout(flash_bytes)
    slot, vfs = place("ota_0", partitions), place("vfs", partitions)
    if len(parts.app) > slot.size:
        raise FactoryError(f"the app is {len(parts.app)} bytes long, its slot only {slot.size}")
    pieces = [
        (BOOTLOADER_ADDRESS, parts.bootloader),
        (TABLE_ADDRESS, partition_table(partitions)),
        (APP_ADDRESS, parts.app),
        (vfs.address, file_system(files, vfs.size)),
    ]
    size = next(name for name, size_bytes in FLASH_SIZES.items() if size_bytes == flash_bytes)
    espressif.silence()
    # Sets the flash size in the boot loader's header, where ESP-IDF takes it from, and renews its SHA-256.
    return merge_bin(pieces, espressif.CHIP, flash_size=size, pad_to_size=size)


def _mounted(vfs: bytes) -> LittleFS:
    lfs = littlefs(bytearray(vfs))
    lfs.mount()
    return lfs


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise FactoryError(f"{path} cannot be read: {error.strerror or error}") from error

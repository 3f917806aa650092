"""The device's own code on CPython, for verdicts that must be the device's."""

import contextlib
import importlib
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType

from tools.twin import paths

_SECTOR_BYTES = 4096


class Refused(Exception):
    """What the device would refuse; the text is the device's own."""


class Memory:
    """A slot that lies in memory, as far as the device's check reads it."""

    def __init__(self, data: bytes, size_bytes: int, address: int) -> None:
        self._data = data.ljust(size_bytes, b"\xff")
        self._info = (0, 0x10, address, size_bytes, "slot", False)

    def info(self) -> tuple:
        """As `esp32.Partition.info`."""
        return self._info

    def readblocks(self, block: int, buffer, offset: int = 0) -> None:
        """As `esp32.Partition.readblocks`."""
        at = block * _SECTOR_BYTES + offset
        buffer[:] = self._data[at : at + len(buffer)]


def is_serial(text: str) -> bool:
    """True for what a device takes for a serial number."""
    return module("store").is_id(text)


def check_config(config: bytes) -> None:
    """Read `config` as the device reads /config.json. Refused when it would not use it."""
    store = module("store")
    root = store.root
    with TemporaryDirectory() as folder, _verdict():
        Path(folder, "config.json").write_bytes(config)
        store.root = f"{folder}/"
        try:
            module("files").config({})
        finally:
            store.root = root


def settings() -> set[str]:
    """The names of the settings that a device knows."""
    return set(module("files").DEFAULTS)


def check_firmware(firmware: bytes, running: bytes, slot_bytes: int, trusted: list[str]) -> None:
    """Check a firmware as a device does before it starts it: one that runs `running`, of any chip revision, and
    trusts the keys with these digests. Refused when it would not."""
    with _verdict():
        slot = Memory(firmware, slot_bytes, 0x200000)
        module("gate").check_head(firmware, len(firmware), slot, Memory(running, slot_bytes, 0x10000), None)
        module("image").check_slot(slot, len(firmware), trusted, memoryview(bytearray(_SECTOR_BYTES)))


def module(name: str) -> ModuleType:
    """A module of the device's package `gadgetkeeper`."""
    paths.make_importable()
    return importlib.import_module(f"gadgetkeeper.{name}")


@contextlib.contextmanager
def _verdict() -> Iterator[None]:
    """What the device raises, as Refused with the device's own sentence."""
    try:
        yield
    except module("errors").AgentError as error:
        raise Refused(module("sentences").sentence(error)) from error

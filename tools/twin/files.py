"""The files on a board's flash, read by littlefs itself."""

from littlefs import LittleFS

from tools.littlefs_memory import littlefs
from tools.twin import partitions
from tools.twin.flash import Flash


def mounted(flash: Flash) -> tuple[LittleFS, int]:
    """A copy of the board's file system, and the address where the original lies."""
    _, _, address, size, _, _ = next(entry for entry in partitions.read_table(flash) if entry[4] == "vfs")
    lfs = littlefs(flash.read(address, size))
    lfs.mount()
    return lfs, address


def read_files(flash: Flash) -> dict[str, bytes]:
    """All files, by path."""
    lfs, _ = mounted(flash)
    found = {}
    for folder, _, names in lfs.walk("/"):
        for name in names:
            path = f"{folder.rstrip('/')}/{name}"
            with lfs.open(path, "rb") as file:
                found[path] = file.read()
    return found

"""Power-on of the virtual chip on CPython: `cpython_main.py FLASH_FILE CONTROL_FD RUNNING_LABEL WORLD_JSON`.

For debugging, coverage, and machines without a wheel of the MicroPython VM. The file system is the same littlefs in the
same flash file; the agent's `open`, `os.rename` and imports go to it.
"""

import builtins
import errno
import importlib.abc
import importlib.util
import io
import json
import os
import sys
import time
import traceback

import chip
import cpython_time
import esp32
import flash
from littlefs import LittleFS, LittleFSError, UserContext

BLOCK_BYTES = 4096


class _Blocks(UserContext):
    """littlefs' block device on the `vfs` partition."""

    def __init__(self, partition):
        super().__init__(partition.info()[3])
        self._partition = partition

    def read(self, cfg, block, off, size):
        data = bytearray(size)
        self._partition.readblocks(block, data, off)
        return data

    def prog(self, cfg, block, off, data):
        self._partition.writeblocks(block, bytes(data), off)
        return 0

    def erase(self, cfg, block):
        self._partition.ioctl(6, block)
        return 0

    def sync(self, cfg):
        return 0


class _Files(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """The board's file system for `open`, `os` and `import`."""

    def __init__(self, lfs):
        self._lfs = lfs
        self._os_stat = os.stat

    def open(self, path, mode="r"):
        try:
            raw = self._lfs.open(path, mode if "b" in mode else mode + "b", buffering=0)
        except FileNotFoundError:
            raise OSError(errno.ENOENT, path) from None
        except LittleFSError as error:
            raise OSError(abs(error.code), path) from None
        return (
            raw if "b" in mode else io.TextIOWrapper(io.BufferedWriter(raw) if "w" in mode else io.BufferedReader(raw))
        )

    def rename(self, old, new):
        self._lfs.rename(old, new)

    def remove(self, path):
        self._lfs.remove(path)

    def source(self, path):
        with self.open(path, "rb") as file:
            return file.read()

    def find_spec(self, fullname, path=None, target=None):
        place = "/" + fullname.replace(".", "/")
        for location, is_package in ((place + "/__init__.py", True), (place + ".py", False)):
            try:
                self._lfs.stat(location)
            except LittleFSError:
                continue
            return importlib.util.spec_from_loader(fullname, self, origin=location, is_package=is_package)
        return None

    def exec_module(self, module):
        exec(compile(self.source(module.__spec__.origin), module.__spec__.origin, "exec"), module.__dict__)


def main():
    path, control_fd, running, world = sys.argv[1:]
    control = os.fdopen(int(control_fd), "wb", buffering=0)
    chip.power_on(flash.Flash(open(path, "r+b", buffering=0)), json.loads(world), running, control)
    cpython_time.install()
    vfs = esp32.Partition("vfs")
    lfs = LittleFS(
        context=_Blocks(vfs),
        block_size=BLOCK_BYTES,
        block_count=vfs.ioctl(4),
        read_size=32,
        prog_size=32,
        lookahead_size=32,
    )
    files = _Files(lfs)
    sys.meta_path.insert(0, files)
    builtins.open = files.open
    os.rename, os.remove = files.rename, files.remove

    behaviour = chip.world.get("behaviour")
    if behaviour == "crash":
        chip.reset("panic: the firmware crashed")
    if behaviour == "offline":
        chip.world["wifi"] = {}
    run(files, "/boot.py")
    while behaviour == "hang":
        time.sleep(1)
    run(files, "/main.py")
    chip.tell("ended")


def run(files, path):
    try:
        exec(compile(files.source(path), path, "exec"), {"__name__": "__main__"})
    except Exception:
        traceback.print_exc(file=sys.stdout)


main()

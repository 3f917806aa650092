"""The board's littlefs as CPython's file system: `open`, `os` and `import` see the flash file, not the host."""

import builtins
import contextlib
import errno
import functools
import importlib.abc
import importlib.util
import io
import os
import sys
import types

from littlefs import LittleFS, LittleFSError, UserContext

_BLOCK_BYTES = 4096
_FILE, _FOLDER = 1, 2
_MODES = {_FILE: 0x8000, _FOLDER: 0x4000}


def mount(partition):
    """Put the littlefs of this partition in the host's files' place, and return its `Files`. OSError without one."""
    lfs = LittleFS(
        context=_Blocks(partition),
        mount=False,
        block_size=_BLOCK_BYTES,
        block_count=partition.ioctl(4),
        read_size=32,
        prog_size=32,
        cache_size=128,
        lookahead_size=32,
    )
    with _os_errors("/"):
        lfs.mount()
    files = Files(lfs)
    sys.meta_path.insert(0, files)
    sys.modules["vfs"] = types.SimpleNamespace(mount=files.mount)  # type: ignore[assignment]
    builtins.open = files.open  # type: ignore[assignment]
    for name in ("rename", "remove", "unlink", "rmdir", "mkdir", "listdir", "stat"):
        setattr(os, name, getattr(files, name))
    return files


class _Blocks(UserContext):
    """littlefs' block device on a partition."""

    def __init__(self, partition):
        super().__init__(0)
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


@functools.cache
def _compiled(source, path):
    """The agent lets go of its modules and imports them again all the time."""
    return compile(source, path, "exec")


@contextlib.contextmanager
def _os_errors(path):
    """Raise littlefs' errors as the board does: OSError with an errno."""
    try:
        yield
    except LittleFSError as error:
        raise OSError(abs(error.code), path) from None
    except OSError as error:  # littlefs-python's own, some of which lack a number
        kinds = {FileNotFoundError: errno.ENOENT, FileExistsError: errno.EEXIST, IsADirectoryError: errno.EISDIR}
        raise OSError(error.errno or kinds.get(type(error), errno.EIO), path) from None


class _File(io.RawIOBase):
    def __init__(self, handle, path):
        self._handle = handle
        self._path = path

    def readable(self):
        return self._handle.readable()

    def writable(self):
        return self._handle.writable()

    def seekable(self):
        return True

    def readinto(self, buffer):
        with _os_errors(self._path):
            return self._handle.readinto(buffer)

    def write(self, data):
        with _os_errors(self._path):
            return self._handle.write(data)

    def seek(self, offset, whence=0):
        with _os_errors(self._path):
            return self._handle.seek(offset, whence)

    def flush(self):
        if not self.closed and self.writable():
            with _os_errors(self._path):
                self._handle.flush()

    def close(self):
        if not self.closed:
            super().close()
            with _os_errors(self._path):
                self._handle.close()


class Files(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """What `open`, `os` and `import` are replaced with."""

    def __init__(self, lfs):
        self._lfs = lfs
        self._mounted = {}

    def mount(self, file_system, folder):
        """As vfs.mount, for a file system in Python."""
        file_system.mount(False, False)
        self._mounted[folder] = file_system

    def _mounted_at(self, path):
        """The file system mounted there and the path within it; None for the littlefs."""
        for folder, file_system in self._mounted.items():
            if path == folder or path.startswith(folder + "/"):
                return file_system, path[len(folder) :] or "/"
        return None

    def open(self, path, mode="r", *_, **__):
        mounted = self._mounted_at(path)
        if mounted:
            return mounted[0].open(mounted[1], mode)
        with _os_errors(path):
            raw = _File(self._lfs.open(path, mode.replace("t", "").replace("b", "") + "b", buffering=0), path)
        if "b" in mode:
            return raw
        buffered = (io.BufferedRandom if "+" in mode else io.BufferedReader if "r" in mode else io.BufferedWriter)(raw)
        return io.TextIOWrapper(buffered, encoding="utf-8", newline="\n")

    def rename(self, old, new):
        with _os_errors(old):
            self._lfs.rename(old, new)

    def remove(self, path):
        with _os_errors(path):
            self._lfs.remove(path)

    unlink = rmdir = remove

    def mkdir(self, path):
        with _os_errors(path):
            self._lfs.mkdir(path)

    def listdir(self, path="/"):
        with _os_errors(path):
            return self._lfs.listdir(path)

    def stat(self, path, **_):
        mounted = self._mounted_at(str(path))
        if mounted:
            return mounted[0].stat(mounted[1])
        with _os_errors(path):
            found = self._lfs.stat(str(path))
        return (_MODES[found.type], 0, 0, 0, 0, 0, found.size, 0, 0, 0)

    def run(self, path, names):
        """Run a program of the board with these global names, which it may add to."""
        exec(_compiled(self._source(path), path), names)

    def find_spec(self, fullname, path=None, target=None):
        # Of the path, only what boot.py has put there is on the board.
        for folder in (*(f"{entry}/" for entry in sys.path if self._is_folder(entry)), "/", "/lib/"):
            place = folder + fullname.replace(".", "/")
            for location, is_package in ((place + "/__init__.py", True), (place + ".py", False)):
                try:
                    self.stat(location)
                except OSError:
                    continue
                spec = importlib.util.spec_from_loader(fullname, self, origin=location, is_package=is_package)
                assert spec
                spec.has_location = True
                return spec
        return None

    def _is_folder(self, path):
        if path in self._mounted:
            return True
        try:
            return path.startswith("/") and self._lfs.stat(path).type == _FOLDER
        except LittleFSError:
            return False

    def exec_module(self, module):
        exec(_compiled(self._source(module.__spec__.origin), module.__spec__.origin), module.__dict__)

    def _source(self, path):
        with self.open(path, "rb") as file:
            return file.read()

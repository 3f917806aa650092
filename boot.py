"""The first Python at power-on, the one part that never changes: finds the running release, guards it, never raises.

A release is the image in a slot: MicroPython and, in one more segment, for load address 0, a ROMFS with agent and
product. A watchdog is armed at every start. A new release has one boot to prove itself: should it hang, or not even be
importable, nobody feeds the watchdog, the chip resets, and the boot loader returns to the release before it. A proven
one that does not become healthy, start after start, goes back to the other slot as well, if that is whole.
"""

import binascii
import gc
import io
import struct
import sys

import machine
import vfs
from esp32 import Partition
from micropython import const

_WATCHDOG_MS = const(120_000)
_UNHEALTHY_STARTS_MAX = const(5)
_SECTOR_BYTES = const(4096)
_OTADATA_RECORD_BYTES = const(32)
_PENDING_VERIFY = const(1)
_VALID = const(2)
_GET_BUFFER_SIZE = const(11)
_LOADER_BYTES = const(128)
_HEADER_BYTES = const(24)
_INDEX_ENTRY_BYTES = const(12)
_FOLDER = const(0xFFFFFFFF)  # as a size


class File(io.IOBase):
    """A file that is read from flash in small pieces, as MicroPython's loader takes a compiled module."""

    def __init__(self, slot, start, size):
        self._slot, self._at, self._end = slot, start, start + size

    def readinto(self, buffer):
        """Fill the buffer with the next bytes; return how many there were."""
        count = min(len(buffer), self._end - self._at)
        if count:
            self._slot.readblocks(self._at // _SECTOR_BYTES, memoryview(buffer)[:count], self._at % _SECTOR_BYTES)
        self._at += count
        return count

    def ioctl(self, request, argument):
        """Answer the loader: how much to read at a time."""
        return _LOADER_BYTES if request == _GET_BUFFER_SIZE else 0

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        pass


class Bundle:
    """The release's files in a slot, as a read-only file system for `vfs.mount`.

    They lie in the segment for load address 0, whose data begins at `start`: a ROMFS, and behind it an index, which
    saves searching: for each path its CRC-32, where its content begins in the segment, and its size; at the very end
    the number of paths."""

    def __init__(self, slot, start, index_at, index_size):
        self._slot, self._start = slot, start
        self._index_at, self._index_size = index_at, index_size

    def mount(self, readonly, mkfs):
        """For vfs.mount: nothing is to be done."""

    def stat(self, path):
        """Return what an import looks at, as os.stat does."""
        _, size = self._find(path)
        return (0x4000 if size == _FOLDER else 0x8000, 0, 0, 0, 0, 0, size, 0, 0, 0)

    def open(self, path, mode):
        """Open a file for reading: a module or a .txt for `readinto` alone, any other as a whole."""
        start, size = self._find(path)
        if path[-4:] in (".mpy", ".txt"):
            return File(self._slot, self._start + start, size)
        content = read(self._slot, self._start + start, size)
        return io.BytesIO(content) if "b" in mode else io.StringIO(content.decode())

    def _find(self, path):
        key = struct.pack("<I", binascii.crc32(path.encode()))
        index = read(self._slot, self._index_at, self._index_size)
        at = index.find(key)
        while at > 0 and at % _INDEX_ENTRY_BYTES:
            at = index.find(key, at + 1)
        if at < 0:
            raise OSError(2)
        return struct.unpack_from("<II", index, at + 4)


def read(slot, at, size):
    """Return that many bytes of the slot."""
    buffer = bytearray(size)
    slot.readblocks(at // _SECTOR_BYTES, buffer, at % _SECTOR_BYTES)
    return buffer


def find_bundle(slot):
    """Return the Bundle in the slot. OSError when there is none."""
    at = _HEADER_BYTES
    for _ in range(read(slot, 0, 2)[1]):
        address, size = struct.unpack("<II", read(slot, at, 8))
        at += 8
        if address == 0 and read(slot, at, 3) == b"\xd2\xcd\x31":
            index_end = at + size - 4
            index_size = _INDEX_ENTRY_BYTES * struct.unpack("<I", read(slot, index_end, 4))[0]
            return Bundle(slot, at, index_end - index_size, index_size)
        at += size
    raise OSError(2)


class Start:
    """This start: which release runs, and what otadata and the RTC's memory say about it."""

    def __init__(self):
        self.slot = Partition(Partition.RUNNING)  # type: ignore[arg-type]
        self.trial = 0  # sequence number of the otadata record that is on trial
        self.proven = 0  # how many records are marked valid
        record = bytearray(_OTADATA_RECORD_BYTES)
        for otadata in Partition.find(Partition.TYPE_DATA, 0):
            for sector in range(2):
                otadata.readblocks(sector, record, 0)
                sequence, _, state, _ = struct.unpack("<I20sII", record)
                if state == _PENDING_VERIFY:
                    self.trial = sequence
                self.proven += state == _VALID

    def find_release(self):
        """Make the slot's release importable; without one, go back to the other slot's."""
        sys.path.insert(0, "/release")  # on a board that has been deployed to, a folder
        try:
            vfs.mount(find_bundle(self.slot), "/release")
        except OSError:
            self._go_back()

    def trace_trial(self):
        """Leave a trace of a trial that has come this far, which survives the reset and a power cut."""
        if self.trial:
            leave("/trial.txt", str(self.trial))

    def count(self):
        """Count the starts since the release was healthy last; after too many, go back to the other slot's."""
        memory = machine.RTC().memory()  # survives a reset, not a power cut
        starts = memory[0] + 1 if memory else 1
        machine.RTC().memory(bytes((min(starts, 255),)) + memory[1:])  # the rest is the agent's
        if starts > _UNHEALTHY_STARTS_MAX:
            self._go_back()

    def _go_back(self):
        """Start the other slot's release for good: if it is whole, and both are proven, or were when this began."""
        label = self.slot.info()[4]
        if not self.trial and (self.proven == 2 or _has_left(label)):
            leave("/left.txt", label)
            machine.RTC().memory(b"")
            self.slot.get_next_update().set_boot()
            Partition.mark_app_valid_cancel_rollback()  # no trial: the way back from it would lead here
            machine.reset()


def leave(path, trace):
    """Leave a trace for the agent."""
    with open(path, "w") as file:
        file.write(trace)


def _has_left(label):
    try:
        with open("/left.txt") as file:
            return file.read() == label
    except OSError:
        return False


watchdog = None  # main.py hands these two to the board
on_trial = False
try:
    gc.threshold(16 * 1024)  # compiling would otherwise spread what stays over the whole heap
    start = Start()
    on_trial = start.trial > 0
    watchdog = machine.WDT(timeout=_WATCHDOG_MS)
    for step in (start.find_release, start.trace_trial, start.count):
        try:
            step()
        except Exception as error:
            print("boot.py:", error)
except Exception as error:
    print("boot.py:", error)
find_bundle = Start = leave = _has_left = start = step = None  # type: ignore[assignment,misc]  # nothing of this stays in memory  # noqa: F811

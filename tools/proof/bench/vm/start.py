"""Power-on of a board that is measured: does what the twin's vm_main.py does, on `esp32.py` of this folder.

What to run and how to measure is in BENCH_POWER. "Idle" is the moment before boot.py: file system mounted, everything
that a board has in its firmware imported, the garbage collected.
"""

import builtins
import gc
import json
import os
import sys

_power = json.loads(os.getenv("BENCH_POWER"))
sys.path[1:1] = _power["import_path"]

import binascii  # noqa: E402,F401
import errno  # noqa: E402,F401
import hashlib  # noqa: E402,F401
import io  # noqa: E402
import random  # noqa: E402,F401
import select  # noqa: E402
import socket  # noqa: E402,F401
import time  # noqa: E402

import ds18x20  # noqa: E402
import esp32  # noqa: E402
import machine  # noqa: E402
import meter  # noqa: E402
import micropython  # noqa: E402
import network  # noqa: E402
import onewire  # noqa: E402
import requests  # noqa: E402
import vfs  # noqa: E402

from tools.twin import hardware  # noqa: E402

_TABLE_BYTES = 14_000  # each is twice as large as the last one; this one is for 1,280 names
_STACK_FRAMES = 60  # deeper than the agent goes

_heap = []  # what keeps parts of the heap from being used


def _reset(cause):
    meter.tell(meter.RESET)
    meter.wait_for_the_end()
    raise SystemExit


class _BufferedWriter:
    """`io.BufferedWriter`, which boards have in C and this VM has not."""

    def __init__(self, raw, size_bytes):
        self._raw = raw
        self._buffer = bytearray(size_bytes)
        self._view = memoryview(self._buffer)
        self._count = 0

    def write(self, data):
        size, done = len(self._buffer), 0
        while done < len(data):
            more = min(size - self._count, len(data) - done)
            self._view[self._count : self._count + more] = data[done : done + more]
            self._count += more
            done += more
            if self._count == size:
                self._raw.write(self._buffer)
                self._count = 0
        return done

    def flush(self):
        if self._count:
            self._raw.write(self._view[: self._count])
            self._count = 0


class _Io:
    BufferedWriter = _BufferedWriter

    def __getattr__(self, name):
        return getattr(io, name)


class _Poll:
    """`select.poll` that tells of every poll: a program that polls is about to read."""

    def __init__(self):
        self._poll = select.poll()

    def poll(self, *timeout_ms):
        meter.on_flash(meter.POLL, 0, 0)
        return self._poll.poll(*timeout_ms)

    def __getattr__(self, name):
        return getattr(self._poll, name)


class _Select:
    poll = _Poll

    def __getattr__(self, name):
        return getattr(select, name)


class _Files:
    """The mounted littlefs, telling of files that are made and renamed."""

    def __init__(self, lfs):
        self._lfs = lfs

    def __getattr__(self, name):
        return getattr(self._lfs, name)

    def open(self, path, mode):
        if "w" in mode or "a" in mode or "+" in mode:
            meter.tell(meter.CREATE)
        return self._lfs.open(path, mode)

    def rename(self, old, new):
        meter.tell(meter.RENAME)
        self._lfs.rename(old, new)


class _Sensor(ds18x20.DS18X20):
    """The thermometer's sensor."""

    def scan(self):
        meter.tell(meter.SCAN)
        return super().scan()


class _HandOver(BaseException):
    """Ends the program where the agent hands over: what is held is weighed from outside of it, because the collector
    takes what returned functions have left on the stack for references."""


_import = builtins.__import__
_handovers = 0
_names = {"__name__": "__main__"}  # boot.py and main.py share their globals, as on the chip


def _overwrite_stack(depth):
    """Overwrite what returned functions have left below the stack's top. This VM's import keeps 4 KiB of that within
    its frame, a board's 128 bytes, and the collector takes each old pointer in it for a reference to a whole module."""
    if depth:
        _overwrite_stack(depth - 1)


def _import_and_see(name, *more):
    """Import; when the product is imported for the time number `handover`, the agent has just handed over."""
    global _handovers
    _overwrite_stack(_STACK_FRAMES)
    if name == "thermometer":
        _handovers += 1
        if _handovers == _power["handover"]:
            raise _HandOver
    return _import(name, *more)


def _weigh(kind):
    """Tell the desk what is held, and wait until it has looked at its clock."""
    meter.ask(kind, 0)  # the CPU time of what follows is not the program's
    taken = gc.mem_alloc()
    gc.collect()
    gc.collect()
    if _power["show_heap"]:
        micropython.qstr_info()
        micropython.mem_info(1)
        print("modules:", " ".join(sorted(sys.modules)))
    meter.ask(kind, gc.mem_alloc(), gc.mem_free(), taken)


def _begin_table_of_names():
    """Have the VM begin a table of interned names that has room for all of the agent's. It would ask for a larger one,
    of thousands of bytes in one piece, when the last one is full, and how full that is depends on the measuring."""
    number = 0
    taken = gc.mem_alloc()
    while gc.mem_alloc() - taken < _TABLE_BYTES:
        if number % 16 == 0:
            gc.collect()  # among garbage the table would lie in the middle of the heap
        taken = gc.mem_alloc()
        hasattr(gc, f"name {number}")
        number += 1


def _leave_free(size_bytes):
    """Take the whole heap, gaps included, but for one piece of `size_bytes`."""
    free = bytearray(size_bytes)
    _fill()
    del free
    gc.collect()


def _cut_to_pieces(piece_bytes):
    """Take so much of the heap that no free piece is larger than `piece_bytes`, a multiple of a block's 32 bytes."""
    count = _fill()
    pins = _heap[0]
    # The heap is full: from here on nothing may allocate.
    base, i = id(pins[0]), 0
    while i < count:
        base = min(base, id(pins[i]))
        i += 1
    i = 0
    while i < count:
        if (id(pins[i]) - base) % (piece_bytes + 32):
            pins[i] = None
        i += 1
    gc.collect()


def _fill():
    """Fill the heap with numbers of one block each; how many."""
    pins = [None] * (gc.mem_free() // 32)
    _heap.append(pins)
    count = 0
    try:
        while True:
            pins[count] = 0.5 + count
            count += 1
    except MemoryError:
        return count


def _join_wifi():
    """Join the network before any CPU time is taken: nobody but the agent would be charged for the waiting, which on
    this VM is CPU time."""
    station = network.WLAN()
    station.active(True)
    for name, password in _power["world"]["wifi"].items():
        station.connect(name, password)
    while not station.isconnected():
        time.sleep_ms(10)


def _run(name):
    try:
        execfile(name, _names)  # noqa: F821
    except SystemExit:
        _reset("soft reset")
    except _HandOver:
        return True
    except Exception as error:
        if not (isinstance(error, OSError) and error.args[0] == 2 and name == "boot.py"):
            sys.print_exception(error)


meter.connect(open(_power["to_desk"], "wb"), open(_power["from_desk"], "rb"), _power["weigh"], _power["collect"])
esp32.power_on(open(_power["flash"], "r+b"), tuple(tuple(entry) for entry in _power["table"]), _power["running"])
hardware.world = _power["world"]
hardware.reset = _reset
hardware.tell = lambda message: None
ds18x20.DS18X20 = _Sensor
builtins.__import__ = _import_and_see
for _module in (ds18x20, esp32, machine, network, onewire):
    sys.modules[_module.__name__] = _module
sys.modules["urequests"] = requests  # the frozen `requests` is what a board has under both names
sys.modules["io"] = _Io()
vfs.umount("/")
_files = vfs.VfsPosix(_power["host_files"]) if _power["host_files"] else vfs.VfsLfs2(esp32.Partition("vfs"))
if _power["watch"]:
    esp32.watch(_power["weigh"])
    if _power["weigh"]:
        sys.modules["select"] = _Select()
    _files = _Files(vfs.VfsLfs2(esp32.Partition("vfs")))  # anew, on the methods that are watched
vfs.mount(_files, "/")
sys.path[:] = ["", ".frozen", "/lib"]
sys.argv[:] = []
for _name in _power["rom_names"]:
    hasattr(gc, _name)  # interned: what a board has in ROM costs nothing there
del _power["rom_names"]
_begin_table_of_names()
if _power["host_files"]:
    _join_wifi()
gc.collect()
gc.collect()
if _power["free_bytes"]:
    _leave_free(_power["free_bytes"])
if _power["piece_bytes"]:
    _cut_to_pieces(_power["piece_bytes"])
_weigh(meter.IDLE)
_run("boot.py")
if _run("main.py"):
    _weigh(meter.HANDOVER)
meter.tell(meter.ENDED)
meter.wait_for_the_end()

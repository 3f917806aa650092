"""The VM's line to the desk: fixed records through a pipe, without allocating, and answers the VM waits for."""

import gc
import struct

ERASE, PROGRAM, READ, POLL, RENAME, CREATE, SCAN = 1, 2, 3, 4, 5, 6, 7
IDLE, HANDOVER, RESET, ENDED = 10, 11, 12, 13
BOOT_SLOT, SET_BOOT, MARK_VALID = 20, 21, 22

_record = bytearray(16)
_answer = bytearray(4)
_to_desk = None
_from_desk = None
_weighing = False
_collecting = False


def connect(to_desk, from_desk, weighing, collecting):
    """Records go to the one file, answers come from the other. With `weighing`, operations are told with the heap that
    is taken; with `collecting`, without what only the garbage collector has not freed yet."""
    global _to_desk, _from_desk, _weighing, _collecting
    _to_desk, _from_desk, _weighing, _collecting = to_desk, from_desk, weighing, collecting


def tell(kind, one=0, two=0, three=0):
    """Send one record; ends the program when the desk has gone."""
    struct.pack_into("<IIII", _record, 0, kind, one, two, three)
    try:
        _to_desk.write(_record)
    except OSError:
        raise SystemExit


def ask(kind, one, two=0, three=0):
    """Send one record and wait for the desk's number."""
    tell(kind, one, two, three)
    _from_desk.readinto(_answer)
    return struct.unpack("<I", _answer)[0]


def wait_for_the_end():
    """Wait until the desk has ended this process, or has gone itself."""
    _from_desk.readinto(_answer)


def on_flash(kind, address, size_bytes):
    """Tell of an operation, perhaps with how much of the heap is taken at that moment."""
    if _collecting:
        gc.collect()
    tell(kind, address, size_bytes, gc.mem_alloc() if _weighing else 0)

"""One power-on of a measured board: starts `vm/start.py`, keeps its records, plays what ESP-IDF does in C."""

import contextlib
import json
import os
import re
import selectors
import signal
import struct
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from littlefs import LittleFS

from host_tests.shims import image, otadata, partitions
from host_tests.shims.flash import Flash
from tools.twin import bootloader
from tools.twin.device import HEAP, SHIMS, VM, WORLD

_START = Path(__file__).parent / "vm" / "start.py"
_TIMEOUT_S = 120
_RECORD_BYTES = 16
_TICKS = os.sysconf("SC_CLK_TCK")

ERASE, PROGRAM, READ, POLL, RENAME, CREATE = 1, 2, 3, 4, 5, 6
IDLE, HANDOVER, RESET, ENDED = 10, 11, 12, 13
BOOT_SLOT, SET_BOOT, MARK_VALID = 20, 21, 22
_ASKED = (IDLE, HANDOVER, BOOT_SLOT, SET_BOOT, MARK_VALID)


class BoardError(Exception):
    """A board that did not do what was to be measured; the text says what it did instead."""


@dataclass(frozen=True)
class How:
    """How one power-on is measured. With `watch` every flash operation and poll is recorded with the heap taken then;
    with `collect` after a garbage collection. `free_bytes` is all the heap that is left above idle (0: as the VM has
    it), `piece_bytes` the largest piece of it (0: in one). `handover_scan` is the reading of the sensor at which the
    thermometer has taken over, `show_heap` has the heap and the names in it described there."""

    watch: bool = False
    collect: bool = False
    free_bytes: int = 0
    piece_bytes: int = 0
    handover_scan: int = 1
    show_heap: bool = False


@dataclass
class Boot:
    """One power-on: `ended` is "reset", "handover", "ended" (main.py returned) or "timeout"."""

    ended: str
    console: str
    cpu_s: float
    idle: tuple[int, int] = (0, 0)  # bytes taken and free
    handover: tuple[int, int, int] = (0, 0, 0)  # bytes taken without garbage, free, taken with garbage
    records: list[tuple[int, int, int, int]] = field(default_factory=list)
    heap: list[str] = field(default_factory=list)  # what the VM says of its heap, at idle and at the hand-over

    def operations(self, *kinds: int) -> list[tuple[int, int, int, int]]:
        """The records of these kinds, in order."""
        return [record for record in self.records if record[0] in kinds]

    @property
    def peak_bytes(self) -> int:
        """The most of the heap that any record saw taken, above idle."""
        seen = [record[3] for record in self.operations(ERASE, PROGRAM, READ, POLL)]
        return max(seen, default=self.idle[0]) - self.idle[0]


def power_on(flash: Path, how: How, timeout_s: float = _TIMEOUT_S) -> Boot:
    """Power on the board with this flash image, until it resets, hands over to the thermometer or ends."""
    with flash.open("r+b", buffering=0) as file:
        chip = Flash(file)
        running, _ = bootloader.start(chip)
        table = partitions.read_table(chip)
        with _started(flash, running, table, how) as (program, from_vm, to_vm):
            return _Desk(chip, table, program, from_vm, to_vm).listen(timeout_s)


def read_files(flash: Path) -> dict[str, bytes]:
    """The files on a flash image, by path."""
    lfs = _mounted(flash)[0]
    found = {}
    for folder, _, names in lfs.walk("/"):
        for name in names:
            path = f"{folder.rstrip('/')}/{name}"
            with lfs.open(path, "rb") as file:
                found[path] = file.read()
    return found


def write_file(flash: Path, path: str, content: bytes) -> None:
    """Replace one file on a flash image."""
    lfs, address = _mounted(flash)
    with lfs.open(path, "wb") as file:
        file.write(content)
    with flash.open("r+b") as file:
        file.seek(address)
        file.write(lfs.context.buffer)


def _mounted(flash: Path) -> tuple[LittleFS, int]:
    with flash.open("rb", buffering=0) as file:
        chip = Flash(file)
        entry = next(entry for entry in partitions.read_table(chip) if entry[4] == "vfs")
        lfs = LittleFS(block_size=4096, block_count=entry[3] // 4096, mount=False)
        lfs.context.buffer[:] = chip.read(entry[2], entry[3])
    lfs.mount()
    return lfs, entry[2]


@contextlib.contextmanager
def _started(flash: Path, running: str, table: list, how: How) -> Iterator[tuple]:
    from_vm, to_desk = os.pipe()
    from_desk, to_vm = os.pipe()
    power = {
        "flash": str(flash.resolve()),
        "shims": str(SHIMS),
        "table": table,
        "running": running,
        "world": WORLD,
        "to_desk": to_desk,
        "from_desk": from_desk,
        **how.__dict__,
    }
    console = tempfile.TemporaryFile()
    program = subprocess.Popen(
        [str(VM), "-X", f"heapsize={HEAP}", str(_START)],
        env={**os.environ, "BENCH_POWER": json.dumps(power)},
        stdin=subprocess.DEVNULL,
        stdout=console,
        stderr=subprocess.STDOUT,
        pass_fds=[to_desk, from_desk],
        start_new_session=True,
    )
    os.close(to_desk)
    os.close(from_desk)
    program.console = console
    try:
        yield program, from_vm, to_vm
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(program.pid, signal.SIGKILL)
        program.wait()
        console.close()
        os.close(from_vm)
        os.close(to_vm)


class _Desk:
    def __init__(self, chip: Flash, table: list, program, from_vm: int, to_vm: int) -> None:
        self._chip, self._table = chip, table
        self._program, self._from_vm, self._to_vm = program, from_vm, to_vm
        self._otadata = partitions.otadata(table)[2]
        self._slots = partitions.ota_slots(table)
        self._cpu_s = 0.0
        self._since_s: float | None = None

    def listen(self, timeout_s: float) -> Boot:
        boot = Boot("timeout", "", 0.0)
        deadline = time.monotonic() + timeout_s
        pending = b""
        marks = 0
        with selectors.DefaultSelector() as selector:
            selector.register(self._from_vm, selectors.EVENT_READ)
            while boot.ended == "timeout" and selector.select(max(deadline - time.monotonic(), 0)):
                data = os.read(self._from_vm, 1 << 16)
                if not data:
                    boot.ended = "crash"
                    break
                pending += data
                whole = len(pending) // _RECORD_BYTES * _RECORD_BYTES
                for record in struct.iter_unpack("<IIII", pending[:whole]):
                    kind = record[0]
                    if kind in (RESET, ENDED):
                        self._pause()
                        boot.ended = "reset" if kind == RESET else "ended"
                        break
                    if kind in (IDLE, HANDOVER):
                        # Told twice: before the heap is looked at, and after.
                        self._pause()
                        marks += 1
                        if marks % 2 == 0:
                            if kind == IDLE:
                                boot.idle = record[1:3]
                            else:
                                boot.handover = record[1:4]
                                boot.ended = "handover"
                                break
                            self._resume(0)
                        else:
                            self._answer(0)
                    elif kind in _ASKED:
                        self._pause()
                        self._resume(self._play(kind, record[1]))
                    else:
                        boot.records.append(record)
                pending = pending[whole:]
        boot.cpu_s = self._cpu_s
        self._program.console.seek(0)
        text = self._program.console.read().decode(errors="replace").replace("\r\n", "\n")
        boot.heap = re.findall(r"^qstr pool:.*?^modules: .*?$", text, re.M | re.S)
        boot.console = re.sub(r"^qstr pool:.*?^modules: .*?\n", "", text, flags=re.M | re.S)
        return boot

    def _play(self, kind: int, address: int) -> int:
        """What ESP-IDF does in C; the number that the VM waits for."""
        if kind == BOOT_SLOT:
            records = otadata.read_records(self._chip, self._otadata)
            active = otadata.active_sector(records)
            number = 0 if active is None else (records[active][0] - 1) % len(self._slots)
            return self._slots[number][2]
        if kind == MARK_VALID:
            return not otadata.mark_valid(self._chip, self._otadata)
        entry = next(entry for entry in self._table if entry[2] == address)
        if image.problem(self._chip, address, entry[3]):
            return 1
        otadata.select(self._chip, self._otadata, self._slots.index(entry), len(self._slots))
        return 0

    def _answer(self, number: int) -> None:
        os.write(self._to_vm, struct.pack("<I", number))

    def _pause(self) -> None:
        if self._since_s is not None:
            self._cpu_s += self._clock_s() - self._since_s
            self._since_s = None

    def _resume(self, number: int | None = None) -> None:
        self._since_s = self._clock_s()
        if number is not None:
            self._answer(number)

    def _clock_s(self) -> float:
        """User and system time of the VM's process."""
        try:
            # The kernel's number of another process' CPU clock (clock_getcpuclockid): to the nanosecond, unlike /proc.
            return time.clock_gettime(~self._program.pid << 3 | 2)
        except OSError:
            return 0.0

"""One power-on of a measured board: starts `vm/start.py`, keeps its records, plays what ESP-IDF does in C."""

import contextlib
import json
import math
import os
import re
import selectors
import signal
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tools.proof.bench import names
from tools.twin import bootloader, image, otadata, partitions
from tools.twin import files as twin_files
from tools.twin.device import HEAP, WORLD
from tools.twin.flash import Flash
from tools.twin.paths import CHIP, ROOT, VM

_START = Path(__file__).parent / "vm" / "start.py"
_TIMEOUT_S = 120
_RECORD_BYTES = 16
_HEAP = re.compile(r"^qstr pool:.*?^modules: .*?\n", re.M | re.S)

ERASE, PROGRAM, READ, POLL, RENAME, CREATE = 1, 2, 3, 4, 5, 6
IDLE, HANDOVER, RESET, ENDED = 10, 11, 12, 13
BOOT_SLOT, SET_BOOT, MARK_VALID = 20, 21, 22


class BoardError(Exception):
    """A board that did not do what was to be measured; the text says what it did instead."""


@dataclass(frozen=True)
class How:
    """How one power-on is measured."""

    watch: bool = False  # record every erase, program, and file made or renamed
    weigh: bool = False  # ... every read and poll as well, each with the heap taken at that moment
    collect: bool = False  # ... after a garbage collection
    free_bytes: int = 0  # the heap that is left above idle, in one piece; 0: all
    piece_bytes: int = 0  # the largest free piece of the heap above idle; 0: all in one
    handover: int = 1  # the import of the thermometer at which it has taken over
    show_heap: bool = False  # have the names and the heap's map described at idle and at the hand-over
    host_files: bool = False  # files from a folder: a board reads its littlefs in C, this VM would in Python


@dataclass
class Boot:
    """One power-on: `ended` is "reset", "handover", "ended" (main.py returned), "timeout" or "crash"."""

    ended: str = ""
    console: str = ""
    cpu_s: float = 0.0  # user and system time of the VM's process, from idle to the end
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
        with _started(flash, running, table, how) as (program, console, from_vm, to_vm):
            boot = _Desk(chip, table, program.pid, from_vm, to_vm).listen(timeout_s)
            console.seek(0)
            text = console.read().decode(errors="replace").replace("\r\n", "\n")
    boot.heap = _HEAP.findall(text)
    boot.console = _HEAP.sub("", text)
    return boot


def read_files(flash: Path) -> dict[str, bytes]:
    """The files on a flash image, by path."""
    with flash.open("rb", buffering=0) as file:
        return twin_files.read_files(Flash(file))


def write_files(flash: Path, files: dict[str, bytes]) -> None:
    """Replace files on a flash image."""
    with flash.open("rb", buffering=0) as file:
        lfs, address = twin_files.mounted(Flash(file))
    for path, content in files.items():
        with lfs.open(path, "wb") as file:
            file.write(content)
    with flash.open("r+b") as file:
        file.seek(address)
        file.write(lfs.context.buffer)


@contextlib.contextmanager
def _started(flash: Path, running: str, table: list, how: How) -> Iterator[tuple]:
    """The VM's process, its console, and both pipes; ended when the block ends."""
    from_vm, to_desk = os.pipe()
    from_desk, to_vm = os.pipe()
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile() as console:
        power = {
            "flash": str(flash.resolve()),
            "import_path": [str(CHIP), str(ROOT)],
            "table": table,
            "running": running,
            "world": WORLD,
            "to_desk": to_desk,
            "from_desk": from_desk,
            "rom_names": names.in_rom(),
            **how.__dict__,
        }
        if how.host_files:
            power["host_files"] = folder
            _unpack(read_files(flash), Path(folder))
        program = subprocess.Popen(
            [str(VM), "-X", f"heapsize={HEAP}", str(_START)],
            env={**os.environ, "BENCH_POWER": json.dumps(power)},
            stdin=subprocess.DEVNULL,
            stdout=console,
            stderr=subprocess.STDOUT,
            pass_fds=[to_desk, from_desk],
            cwd=folder,
            start_new_session=True,
        )
        os.close(to_desk)
        os.close(from_desk)
        try:
            yield program, console, from_vm, to_vm
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(program.pid, signal.SIGKILL)
            program.wait()
            os.close(from_vm)
            os.close(to_vm)


def _unpack(files: dict[str, bytes], folder: Path) -> None:
    for path, content in files.items():
        place = folder / path[1:]
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)


class _Desk:
    """What the VM talks to."""

    def __init__(self, chip: Flash, table: list, process_id: int, from_vm: int, to_vm: int) -> None:
        self._chip, self._table = chip, table
        self._process_id, self._from_vm, self._to_vm = process_id, from_vm, to_vm
        self._otadata = partitions.otadata(table)[2]
        self._slots = partitions.ota_slots(table)
        self._cpu_s = 0.0
        self._since_s: float | None = None
        self._weighing = False

    def listen(self, timeout_s: float) -> Boot:
        """Hear the VM out; all but the console."""
        boot = Boot()
        deadline = time.monotonic() + timeout_s
        pending = b""
        with selectors.DefaultSelector() as selector:
            selector.register(self._from_vm, selectors.EVENT_READ)
            while not boot.ended:
                if not selector.select(max(deadline - time.monotonic(), 0)):
                    boot.ended = "timeout"
                    break
                data = os.read(self._from_vm, 1 << 16)
                if not data:
                    boot.ended = "crash"
                    break
                pending += data
                whole = len(pending) // _RECORD_BYTES * _RECORD_BYTES
                for record in struct.iter_unpack("<IIII", pending[:whole]):
                    self._hear(record, boot)
                pending = pending[whole:]
        boot.cpu_s = self._cpu_s
        return boot

    def _hear(self, record: tuple[int, int, int, int], boot: Boot) -> None:
        kind = record[0]
        if kind in (RESET, ENDED):
            self._pause()
            boot.ended = "reset" if kind == RESET else "ended"
        elif kind in (IDLE, HANDOVER):
            self._pause()
            # Told twice: before the heap is looked at, and after.
            self._weighing = not self._weighing
            if self._weighing:
                self._answer(0)
            elif kind == IDLE:
                boot.idle = record[1:3]
                self._resume(0)
            else:
                boot.handover = record[1:4]
                boot.ended = "handover"
        elif kind in (BOOT_SLOT, SET_BOOT, MARK_VALID):
            self._pause()
            self._resume(self._play(kind, record[1]))
        else:
            boot.records.append(record)

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

    def _resume(self, number: int) -> None:
        self._since_s = self._clock_s()
        self._answer(number)

    def _clock_s(self) -> float:
        """User and system time of the VM's process, which waits for its answer."""
        # The number of another process' CPU clock on Linux (clock_getcpuclockid); /proc only counts ticks.
        return time.clock_gettime(~self._process_id << 3 | 2) if sys.platform == "linux" else math.nan

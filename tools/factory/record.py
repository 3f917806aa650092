"""The manufacturing record: a line of JSON for all that was done to a board, on disk before the next thing is done.

It is only ever appended to. What it says outlives interruptions, and decides which serial number a board may get: one
that no other board has, and none when the board has one already.
"""

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from tools.factory.errors import FactoryError

STARTED = "started"  # said before the first byte is written: the board may hold the serial number from here on
FLASHED = "flashed"
FAILED = "failed"
RELEASED = "released"  # by somebody's word: the board is gone, the serial number is free again
_MEMBERS = ("time", "serial", "mac", "image", "result")
_TORN = "torn"  # the line above was cut off when it was written; what it said had not begun


@dataclass
class Entries:
    """What a record says: the last line about each serial number, those that a board has had verified, the board that
    has each, each board's own, and each serial number as it is written by the same without case."""

    last: dict[str, dict] = field(default_factory=dict)
    proven: set[str] = field(default_factory=set)
    mac_of: dict[str, str] = field(default_factory=dict)
    serial_of: dict[str, str] = field(default_factory=dict)
    folded: dict[str, str] = field(default_factory=dict)

    def is_flashed(self, serial: str) -> bool:
        """True when a board holds this serial number, verified."""
        return self.last.get(serial, {}).get("result") == FLASHED

    def secrets(self) -> dict[str, str]:
        """The hashes of the device secrets of all boards that have one, by serial number."""
        found = {serial: self.last[serial].get("secretSha256") for serial in self.mac_of}
        return {serial: sha256 for serial, sha256 in found.items() if sha256}

    def require(self, serial: str, mac: str, is_reuse: bool = False) -> None:
        """FactoryError unless this board may get this serial number; `is_reuse` is the word that it may get another
        one than it has."""
        alike = self.folded.get(serial.casefold(), serial)
        if alike != serial and alike in self.mac_of:
            raise FactoryError(
                f"{serial} differs from {alike} of board {self.mac_of[alike]} by case only: to people and to file "
                "systems that is one serial number"
            )
        other = self.mac_of.get(serial, mac)
        if other != mac:
            entry = self.last[serial]
            free = "" if serial in self.proven else f", or free it with RELEASE={serial} if that board is gone"
            raise FactoryError(
                f"{serial} belongs to board {other} since {entry['time']} ({entry['result']}), this is {mac}: "
                f"attach that one{free}"
            )
        own = self.serial_of.get(mac, serial)
        if own != serial and not is_reuse:
            raise FactoryError(
                f"board {mac} is {own} already ({self.last[own]['result']}): attach another board, or give it another "
                "serial number with REUSE=1"
            )


class Record:
    """The record in the file `path`, which is made when it is missing."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> Entries:
        """What the record says now. FactoryError when a line of it cannot be read."""
        try:
            lines = self.path.read_bytes().split(b"\n")
        except FileNotFoundError:
            return Entries()
        except OSError as error:
            raise FactoryError(f"the record {self.path} cannot be read: {error.strerror}") from error
        entries = Entries()
        for number, line in enumerate(lines[:-1], 1):  # behind the last line break is nothing, or a torn line
            entry = _parse(line)
            if entry is None and _parse(lines[number]) != {"result": _TORN}:
                raise FactoryError(f"line {number} of the record {self.path} cannot be read: bring it back first")
            if entry and entry["result"] != _TORN:
                _take_in(entries, entry)
        return entries

    @contextlib.contextmanager
    def locked(self) -> Iterator[Entries]:
        """What the record says, while no other program may add to it: to choose a serial number and say so."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.with_name(self.path.name + ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield self.read()

    def add(
        self,
        serial: str,
        mac: str,
        image_sha256: str,
        result: str,
        reason: str | None = None,
        secret_sha256: str | None = None,
    ) -> None:
        """Append a line; it is on disk when this returns. `secret_sha256` is the hash of the board's device secret:
        the secret itself never stands here. OSError when it cannot be written."""
        entry = {"time": datetime.now(UTC).isoformat(timespec="seconds"), "serial": serial, "mac": mac}
        entry |= {"image": image_sha256, "result": result}
        if secret_sha256:
            entry["secretSha256"] = secret_sha256
        if reason:
            entry["reason"] = reason
        self.path.parent.mkdir(parents=True, exist_ok=True)
        is_new = not self.path.exists()
        handle = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            if _is_torn(handle):
                os.write(handle, b"\n" + _line({"result": _TORN}))
            os.write(handle, _line(entry))
            os.fsync(handle)
        finally:
            os.close(handle)
        if is_new:
            _sync_folder(self.path.parent)

    def release(self, serial: str) -> str:
        """Free a serial number whose board is gone; the board's MAC. FactoryError when no board has it, or when one
        does for good: two would."""
        with self.locked() as entries:
            if serial not in entries.mac_of:
                raise FactoryError(f"{serial} belongs to no board: there is nothing to release")
            mac = entries.mac_of[serial]
            own = entries.serial_of[mac]
            if serial in entries.proven and (own == serial or not entries.is_flashed(own)):
                raise FactoryError(f"{serial} was flashed onto board {mac} and verified: it stays that board's")
            self.add(serial, mac, entries.last[serial]["image"], RELEASED)
            return mac


def _take_in(entries: Entries, entry: dict) -> None:
    serial, mac = entry["serial"], entry["mac"]
    entries.last[serial] = entry
    entries.folded[serial.casefold()] = serial
    if entry["result"] == FLASHED:
        entries.proven.add(serial)
    if entry["result"] == RELEASED:
        entries.proven.discard(serial)
        entries.mac_of.pop(serial, None)
        if entries.serial_of.get(mac) == serial:
            del entries.serial_of[mac]
    else:
        entries.mac_of[serial] = mac
        entries.serial_of[mac] = serial


def _parse(line: bytes) -> dict | None:
    try:
        entry = json.loads(line)
    except ValueError:
        return None
    is_entry = isinstance(entry, dict) and all(isinstance(entry.get(name), str) for name in _MEMBERS)
    return entry if is_entry or entry == {"result": _TORN} else None


def _is_torn(handle: int) -> bool:
    size_bytes = os.fstat(handle).st_size
    return size_bytes > 0 and os.pread(handle, 1, size_bytes - 1) != b"\n"


def _line(entry: dict) -> bytes:
    return json.dumps(entry).encode() + b"\n"


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

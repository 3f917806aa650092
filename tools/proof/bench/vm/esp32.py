"""`esp32` for measuring: partitions on a flash file with as little Python in between as possible, the same for all.

What ESP-IDF does in C outside Python's heap (otadata, the check in set_boot) is done by the desk, asked over a pipe. In
the modes that look at memory or count operations every method calls `meter.on_flash` first; else there is no hook.
"""

import meter

_SECTOR_BYTES = 4096
_BLANK = b"\xff" * _SECTOR_BYTES

_file = None
_table = ()
_running = ""


def power_on(file, table, running):
    """Give the partitions their flash: an unbuffered file, the partition table's entries, the running slot's label."""
    global _file, _table, _running
    _file, _table, _running = file, table, running


class Partition:
    BOOT = 0
    RUNNING = 1
    TYPE_APP = 0
    TYPE_DATA = 1

    def __init__(self, id, block_size=_SECTOR_BYTES):
        if id == self.BOOT:
            id = meter.ask(meter.BOOT_SLOT, 0)
        elif id == self.RUNNING:
            id = _running
        for entry in _table:
            if id in (entry[2], entry[4]):
                self._entry = entry
                self._at = entry[2]
                return
        raise OSError(2)

    @staticmethod
    def find(type=TYPE_APP, subtype=0xFF, label=None, block_size=_SECTOR_BYTES):
        return [
            Partition(entry[4])
            for entry in _table
            if entry[0] == type and subtype in (0xFF, entry[1]) and label in (None, entry[4])
        ]

    def info(self):
        return self._entry

    def readblocks(self, block, buffer, offset=0):
        _file.seek(self._at + block * _SECTOR_BYTES + offset)
        _file.readinto(buffer)

    def writeblocks(self, block, buffer, offset=None):
        at = self._at + block * _SECTOR_BYTES
        if offset is None:
            for sector in range(at, at + len(buffer), _SECTOR_BYTES):
                _file.seek(sector)
                _file.write(_BLANK)
        else:
            at += offset
        _file.seek(at)
        _file.write(buffer)

    def ioctl(self, op, arg=0):
        if op == 6:
            _file.seek(self._at + arg * _SECTOR_BYTES)
            _file.write(_BLANK)
            return 0
        if op == 4:
            return self._entry[3] // _SECTOR_BYTES
        return _SECTOR_BYTES if op == 5 else 0

    def get_next_update(self):
        slots = [entry for entry in _table if entry[0] == self.TYPE_APP and entry[1] >= 0x10]
        return Partition(slots[(slots.index(self._entry) + 1) % len(slots)][4])

    def set_boot(self):
        if meter.ask(meter.SET_BOOT, self._at):
            raise OSError(-5379, "ESP_ERR_OTA_VALIDATE_FAILED")

    @staticmethod
    def mark_app_valid_cancel_rollback():
        meter.ask(meter.MARK_VALID, 0)


def watch(reads):
    """From now on `meter.on_flash` hears of every erase and program, and with `reads` of every read."""
    read, write, control = Partition.readblocks, Partition.writeblocks, Partition.ioctl

    def readblocks(self, block, buffer, offset=0):
        meter.on_flash(meter.READ, self._at + block * _SECTOR_BYTES + offset, len(buffer))
        read(self, block, buffer, offset)

    def writeblocks(self, block, buffer, offset=None):
        at = self._at + block * _SECTOR_BYTES + (offset or 0)
        if offset is None:
            meter.on_flash(meter.ERASE, at, len(buffer))
        meter.on_flash(meter.PROGRAM, at, len(buffer))
        write(self, block, buffer, offset)

    def ioctl(self, op, arg=0):
        if op == 6:
            meter.on_flash(meter.ERASE, self._at + arg * _SECTOR_BYTES, _SECTOR_BYTES)
        return control(self, op, arg)

    Partition.writeblocks, Partition.ioctl = writeblocks, ioctl
    if reads:
        Partition.readblocks = readblocks


def raw_temperature():
    return 104

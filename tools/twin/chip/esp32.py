"""`esp32` on the virtual chip: partitions with ESP-IDF's rules and error codes, and the chip's temperature."""

from tools.twin import hardware, image, otadata, partitions

_INVALID_SIZE = (-260, "ESP_ERR_INVALID_SIZE")
_INVALID_ARG = (-258, "ESP_ERR_INVALID_ARG")
_NOT_FOUND = (-261, "ESP_ERR_NOT_FOUND")
_VALIDATE_FAILED = (-5379, "ESP_ERR_OTA_VALIDATE_FAILED")
_FAIL = (1, "ESP_FAIL")
_EINVAL = 22
_SECTOR_BYTES = 4096


class Partition:
    BOOT = 0
    RUNNING = 1
    TYPE_APP = 0
    TYPE_DATA = 1

    def __init__(self, id, block_size=_SECTOR_BYTES):
        table = partitions.read_table(hardware.flash)
        self._block_size = block_size
        if id == self.BOOT:
            found = _chosen(table)
        elif id == self.RUNNING or isinstance(id, str):
            label = hardware.running if id == self.RUNNING else id
            found = [entry for entry in table if entry[4] == label]
        else:
            raise ValueError
        if not found:
            raise OSError(2)
        self._entry = found[0]

    @staticmethod
    def find(type=TYPE_APP, subtype=0xFF, label=None, block_size=_SECTOR_BYTES):
        return [
            Partition(entry[4], block_size)
            for entry in partitions.read_table(hardware.flash)
            if entry[0] == type and subtype in (0xFF, entry[1]) and label in (None, entry[4])
        ]

    def info(self):
        return self._entry

    def readblocks(self, block, buffer, offset=0):
        at = block * self._block_size + offset
        self._check_range(at, len(buffer))
        hardware.flash.read_into(self._entry[2] + at, buffer)

    def writeblocks(self, block, buffer, offset=None):
        at = block * self._block_size + (offset or 0)
        if offset is not None:
            self._program(at, buffer)
        elif self._block_size >= _SECTOR_BYTES:
            self._erase(at, len(buffer))
            self._program(at, buffer)
        else:
            # Blocks smaller than a sector: what else lies in the sectors is put back.
            first = at // _SECTOR_BYTES * _SECTOR_BYTES
            end = at + len(buffer)
            while first < end:
                sector = bytearray(_SECTOR_BYTES)
                self._check_range(first, _SECTOR_BYTES)
                hardware.flash.read_into(self._entry[2] + first, sector)
                self._erase(first, _SECTOR_BYTES)
                if first < at:
                    self._program(first, sector[: at - first])
                if end < first + _SECTOR_BYTES:
                    self._program(end, sector[end - first :])
                first += _SECTOR_BYTES
            self._program(at, buffer)

    def ioctl(self, op, arg=0):
        if op == 4:
            return self._entry[3] // self._block_size
        if op == 5:
            return self._block_size
        if op == 6:
            if self._block_size != _SECTOR_BYTES:
                return -_EINVAL
            self._erase(arg * _SECTOR_BYTES, _SECTOR_BYTES)
            return 0
        return 0 if op in (1, 2, 3) else None

    def get_next_update(self):
        slots = partitions.ota_slots(partitions.read_table(hardware.flash))
        if not slots:
            raise OSError(2)
        at = slots.index(self._entry) if self._entry in slots else -1
        return Partition(slots[(at + 1) % len(slots)][4])

    def set_boot(self):
        if image.problem(hardware.flash, self._entry[2], self._entry[3]):
            raise OSError(*_VALIDATE_FAILED)
        if self._entry[0] != self.TYPE_APP:
            raise OSError(*_INVALID_ARG)
        table = partitions.read_table(hardware.flash)
        records = partitions.otadata(table)
        if not records:
            raise OSError(*_NOT_FOUND)
        slots = partitions.ota_slots(table)
        if self._entry not in slots:  # the factory app: no records means factory
            for sector in range(2):
                hardware.flash.erase(records[2] + sector * _SECTOR_BYTES)
            return
        otadata.select(hardware.flash, records[2], slots.index(self._entry), len(slots))

    @classmethod
    def mark_app_valid_cancel_rollback(cls):
        records = partitions.otadata(partitions.read_table(hardware.flash))
        if not records:
            raise OSError(*_NOT_FOUND)
        if not otadata.mark_valid(hardware.flash, records[2]):
            raise OSError(*_FAIL)

    def _erase(self, at, size_bytes):
        self._check_range(at, size_bytes)
        if size_bytes % _SECTOR_BYTES:
            raise OSError(*_INVALID_SIZE)
        self._check_writable(at, size_bytes)
        for sector in range(at, at + size_bytes, _SECTOR_BYTES):
            hardware.flash.erase(self._entry[2] + sector)

    def _program(self, at, data):
        self._check_range(at, len(data))
        self._check_writable(at, len(data))
        hardware.flash.program(self._entry[2] + at, data)

    def _check_range(self, at, size_bytes):
        if at > self._entry[3]:
            raise OSError(*_INVALID_ARG)
        if at + size_bytes > self._entry[3]:
            raise OSError(*_INVALID_SIZE)

    def _check_writable(self, at, size_bytes):
        """ESP-IDF aborts rather than write what the chip runs from: boot loader, partition table, running app."""
        start = self._entry[2] + at
        running = Partition(self.RUNNING).info()
        if start <= partitions.TABLE_ADDRESS + partitions.TABLE_BYTES:
            hardware.reset("panic: write to the boot loader or the partition table")
        if start < running[2] + running[3] and start + size_bytes > running[2]:
            hardware.reset("panic: write to the running app")


def _chosen(table):
    """The app the boot loader would take next, as a list of one; empty without otadata or without apps."""
    records = partitions.otadata(table)
    if not records:
        return []
    slots = partitions.ota_slots(table)
    found = otadata.read_records(hardware.flash, records[2])
    active = otadata.active_sector(found)
    if active is not None and slots:
        return [slots[(found[active][0] - 1) % len(slots)]]
    factory = partitions.factory(table)
    return [factory] if factory else slots[:1]


def raw_temperature():
    return round(hardware.world["chip"] * 1.8 + 32)

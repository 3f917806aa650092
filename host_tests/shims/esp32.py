"""`esp32` on the virtual chip: partitions with ESP-IDF's rules and error codes, and the chip's temperature."""

import chip
import image
import otadata
import partitions

_INVALID_SIZE = (-260, "ESP_ERR_INVALID_SIZE")
_INVALID_ARG = (-258, "ESP_ERR_INVALID_ARG")
_NOT_FOUND = (-261, "ESP_ERR_NOT_FOUND")
_VALIDATE_FAILED = (-5379, "ESP_ERR_OTA_VALIDATE_FAILED")
_SECTOR_BYTES = 4096


class Partition:
    BOOT = 0
    RUNNING = 1
    TYPE_APP = 0
    TYPE_DATA = 1

    def __init__(self, id, block_size=_SECTOR_BYTES):
        table = partitions.read_table(chip.flash)
        self._block_size = block_size
        if id == self.BOOT:
            self._entry = _chosen(table)
            return
        label = chip.running if id == self.RUNNING else id
        found = [entry for entry in table if entry[4] == label]
        if not found:
            raise OSError(2)
        self._entry = found[0]

    @staticmethod
    def find(type=TYPE_APP, subtype=0xFF, label=None, block_size=_SECTOR_BYTES):
        return [
            Partition(entry[4], block_size)
            for entry in partitions.read_table(chip.flash)
            if entry[0] == type and subtype in (0xFF, entry[1]) and label in (None, entry[4])
        ]

    def info(self):
        return self._entry

    def readblocks(self, block, buffer, offset=0):
        at = block * self._block_size + offset
        if at > self._entry[3]:
            raise OSError(*_INVALID_ARG)
        if at + len(buffer) > self._entry[3]:
            raise OSError(*_INVALID_SIZE)
        chip.flash.read_into(self._entry[2] + at, buffer)

    def writeblocks(self, block, buffer, offset=None):
        at = block * self._block_size + (offset or 0)
        if at > self._entry[3]:
            raise OSError(*_INVALID_ARG)
        if at + len(buffer) > self._entry[3] or (offset is None and len(buffer) % _SECTOR_BYTES):
            raise OSError(*_INVALID_SIZE)
        self._check_writable()
        address = self._entry[2] + at
        if offset is None:
            for sector in range(0, len(buffer), _SECTOR_BYTES):
                chip.flash.erase(address + sector)
        chip.flash.program(address, buffer)

    def ioctl(self, op, arg=0):
        if op == 4:
            return self._entry[3] // self._block_size
        if op == 5:
            return self._block_size
        if op == 6:
            self._check_writable()
            for at in range(arg * self._block_size, (arg + 1) * self._block_size, _SECTOR_BYTES):
                chip.flash.erase(self._entry[2] + at)
            return 0
        return 0 if op in (1, 2, 3) else None

    def get_next_update(self):
        slots = partitions.ota_slots(partitions.read_table(chip.flash))
        if not slots:
            raise OSError(2)
        labels = [slot[4] for slot in slots]
        running = labels.index(chip.running) if chip.running in labels else -1
        return Partition(labels[(running + 1) % len(labels)])

    def set_boot(self):
        if image.problem(chip.flash, self._entry[2], self._entry[3]):
            raise OSError(*_VALIDATE_FAILED)
        table = partitions.read_table(chip.flash)
        records = partitions.otadata(table)
        if not records:
            raise OSError(*_NOT_FOUND)
        slots = partitions.ota_slots(table)
        if self._entry not in slots:  # the factory app: no records means factory
            for sector in range(2):
                chip.flash.erase(records[2] + sector * _SECTOR_BYTES)
            return
        otadata.select(chip.flash, records[2], slots.index(self._entry), len(slots))

    @classmethod
    def mark_app_valid_cancel_rollback(cls):
        records = partitions.otadata(partitions.read_table(chip.flash))
        if not records:
            raise OSError(*_NOT_FOUND)
        otadata.mark_valid(chip.flash, records[2])

    def _check_writable(self):
        if self._entry[4] == chip.running:
            chip.reset("panic: write to the running app")


def _chosen(table):
    slots = partitions.ota_slots(table)
    records = partitions.otadata(table)
    active = None
    if records:
        found = otadata.read_records(chip.flash, records[2])
        active = otadata.active_sector(found)
    if active is None:
        return partitions.factory(table) or slots[0]
    return slots[(found[active][0] - 1) % len(slots)]


def raw_temperature():
    return round(chip.world["chip"] * 1.8 + 32)

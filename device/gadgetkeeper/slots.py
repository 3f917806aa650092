"""The OTA slots and otadata, as the boot loader sees them, with guards against what ESP-IDF lets one do wrong.

There is no call that reads a slot's state, so the otadata partition itself is read: two sectors, each with one record
of sequence number, label, state and a CRC-32 of the sequence number (ESP-IDF, esp_flash_partitions.h).
"""

import binascii
import struct

from micropython import const

from .errors import BadImage, FinalError, RetryableError

SECTOR_BYTES = const(4096)

NEW = const(0)
PENDING_VERIFY = const(1)
VALID = const(2)
INVALID = const(3)
ABORTED = const(4)

_FIRST_OTA_SUBTYPE = const(0x10)
_RECORD_BYTES = const(32)
_ELF_HASH_AT = const(0xB0)


class Slots:
    """This board's slots. `partition` is `esp32.Partition`; `running` is the slot this firmware runs from.

    FinalError on a board whose partition table has no OTA slots."""

    def __init__(self, partition) -> None:
        self._partition = partition
        self.running = partition(partition.RUNNING)
        tables = partition.find(partition.TYPE_DATA, 0)
        apps = partition.find(partition.TYPE_APP)
        self._count = len([app for app in apps if 0 <= app.info()[1] - _FIRST_OTA_SUBTYPE < 16])
        if not tables or self._count < 2:
            raise FinalError("no_slots", "the partition table has no two OTA slots: flash the board with one that has")
        self._otadata = tables[0]

    def free(self):
        """The slot the next firmware goes into. RuntimeError while the running firmware is on trial: the other slot
        is then the way back."""
        if self.on_trial():
            raise RuntimeError("the running firmware is on trial, the other slot must stay as it is")
        slot = self.running.get_next_update()
        if slot.info()[2] == self.running.info()[2]:
            raise FinalError("no_slots", "the partition table has no second OTA slot")
        self._hold_running()
        return slot

    def state(self, slot) -> "int | None":
        """The state in the newest otadata record that names `slot`; None when no record does."""
        found = None
        newest = 0
        for sequence, state in self._records():
            if sequence > newest and (sequence - 1) % self._count == slot.info()[1] - _FIRST_OTA_SUBTYPE:
                newest, found = sequence, state
        return found

    def failed(self, slot_label: str) -> bool:
        """True when the boot loader has tried that slot and did not stay with it."""
        return self.state(self._partition(slot_label)) in (PENDING_VERIFY, INVALID, ABORTED)

    def on_trial(self) -> bool:
        """True while the running firmware has its one boot to prove itself."""
        return self.state(self.running) == PENDING_VERIFY

    def chosen(self):
        """The slot the boot loader would take at the next reset."""
        return self._partition(self._partition.BOOT)

    def arm(self, slot) -> None:
        """Have the boot loader try `slot` at the next reset. BadImage when the chip's own check refuses the image."""
        # A second set_boot for the same slot overwrites the running slot's record (ESP-IDF up to 5.5.5).
        if self._same(self.chosen(), slot):
            return
        try:
            slot.set_boot()
        except OSError as error:
            raise BadImage("refused_by_chip", f"the chip's own check refuses the firmware ({error})")

    def mark_valid(self) -> None:
        """End the trial: the running firmware stays. RetryableError when the mark did not stick."""
        # The mark goes to the ACTIVE record. After a fall-back by the boot loader that is another slot than the running
        # one, and after set_boot it is one that has never run.
        if not self._same(self.chosen(), self.running):
            raise RetryableError("not_marked", "another slot than the running one is chosen for the next boot")
        self._partition.mark_app_valid_cancel_rollback()
        if self.state(self.running) != VALID:
            raise RetryableError("not_marked", f"the mark for {label(self.running)} did not reach otadata")

    def _hold_running(self) -> None:
        """Have the boot loader stay with the running firmware, should it have fallen back to it.

        It falls back from an image that it cannot load and leaves otadata as it is: the free slot is then still
        chosen, as proven, and whatever is written into it would boot without a trial."""
        if not self._same(self.chosen(), self.running):
            self.running.set_boot()
            self._partition.mark_app_valid_cancel_rollback()

    def _records(self):
        record = bytearray(_RECORD_BYTES)
        for sector in range(2):
            self._otadata.readblocks(sector, record, 0)
            sequence, _, state, crc = struct.unpack("<I20sII", record)
            if sequence != 0xFFFFFFFF and crc == binascii.crc32(record[:4], 0xFFFFFFFF):
                yield sequence, state

    def _same(self, one, other) -> bool:
        return one.info()[2] == other.info()[2]


def label(slot) -> str:
    """The slot's name in the partition table, like "ota_1"."""
    return slot.info()[4]


def fingerprint_of(head) -> str:
    """What tells an image from others: half of its descriptor's ELF SHA-256, in hex (32 characters)."""
    return binascii.hexlify(head[_ELF_HASH_AT : _ELF_HASH_AT + 16]).decode()


def fingerprint(slot) -> str:
    """`fingerprint_of` the image in `slot`."""
    head = bytearray(_ELF_HASH_AT + 16)
    slot.readblocks(0, head, 0)
    return fingerprint_of(head)

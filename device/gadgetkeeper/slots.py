"""The OTA slots and otadata, as the boot loader sees them, with guards against what ESP-IDF lets one do wrong.

There is no call that reads a slot's state, so the otadata partition itself is read: two sectors, each with one record
of sequence number, label, state and a CRC-32 of the sequence number (ESP-IDF, esp_flash_partitions.h).
"""

import binascii
import struct

from micropython import const

from .errors import FinalError, RetryableError
from .fingerprint import label

_PENDING_VERIFY = const(1)
_VALID = const(2)
_INVALID = const(3)
_ABORTED = const(4)

_VALIDATE_FAILED = const(-5379)  # ESP_ERR_OTA_VALIDATE_FAILED

_FIRST_OTA_SUBTYPE = const(0x10)
_RECORD_BYTES = const(32)


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
            raise FinalError("no_slots")
        self._otadata = tables[0]

    def free(self):
        """The slot the next firmware goes into. RuntimeError while the running firmware is on trial: the other slot
        is then the way back."""
        if self.on_trial():
            raise RuntimeError("on trial")
        slot = self.running.get_next_update()
        if _same(slot, self.running):
            raise FinalError("no_slots")
        self._hold_running()
        return slot

    def state(self, slot) -> "int | None":
        """The state in the newest otadata record that names `slot`; None when no record does."""
        found = None
        newest = 0
        record = bytearray(_RECORD_BYTES)
        for sector in range(2):
            self._otadata.readblocks(sector, record, 0)
            sequence, _, state, crc = struct.unpack("<I20sII", record)
            if sequence == 0xFFFFFFFF or crc != binascii.crc32(record[:4], 0xFFFFFFFF):
                continue
            if sequence > newest and (sequence - 1) % self._count == slot.info()[1] - _FIRST_OTA_SUBTYPE:
                newest, found = sequence, state
        return found

    def failed(self, slot_label: str) -> bool:
        """True when the boot loader has tried that slot, with this image or an earlier one, and did not stay."""
        return self.state(self._partition(slot_label)) in (_PENDING_VERIFY, _INVALID, _ABORTED)

    def on_trial(self) -> bool:
        """True while the running firmware has its one boot to prove itself."""
        return self.state(self.running) == _PENDING_VERIFY

    def chosen(self):
        """The slot the boot loader would take at the next reset."""
        return self._partition(self._partition.BOOT)

    def arm(self, slot) -> None:
        """Have the boot loader try `slot` at the next reset. FinalError when the chip's own check refuses the image."""
        # A second set_boot for the same slot overwrites the running slot's record (ESP-IDF up to 5.5.5).
        if _same(self.chosen(), slot):
            return
        try:
            slot.set_boot()
        except OSError as error:
            if error.errno == _VALIDATE_FAILED:
                raise FinalError("refused_by_chip", error)
            raise RetryableError("flash_failed", label(slot), error)

    def mark_valid(self) -> None:
        """End the trial: the running firmware stays. RetryableError when the mark did not stick."""
        # The mark goes to the ACTIVE record. After a fall-back by the boot loader that is another slot than the running
        # one, and after set_boot it is one that has never run.
        if _same(self.chosen(), self.running):
            self._partition.mark_app_valid_cancel_rollback()
            if self.state(self.running) == _VALID:
                return
        raise RetryableError("not_marked", label(self.running))

    def _hold_running(self) -> None:
        """Have the boot loader stay with the running firmware, should it have fallen back to it.

        It falls back from an image that it cannot load and leaves otadata as it is: the free slot is then still
        chosen, as proven, and whatever is written into it would boot without a trial."""
        if not _same(self.chosen(), self.running):
            self.running.set_boot()
            self._partition.mark_app_valid_cancel_rollback()


def _same(one, other) -> bool:
    return one.info()[2] == other.info()[2]

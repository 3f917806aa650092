"""The OTA slots and otadata, as the boot loader sees them, with guards against what ESP-IDF lets one do wrong.

There is no call that reads a slot's state, so the otadata partition itself is read: two sectors, each with one record
of sequence number, label, state and a CRC-32 of the sequence number (ESP-IDF, esp_flash_partitions.h).
"""

import binascii
import struct

from agent.errors import PermanentError, RetryableError
from agent.record import Running
from micropython import const

from .layout import fingerprint
from .slot import Slot

_PENDING_VERIFY = const(1)
_VALID = const(2)
_INVALID = const(3)
_ABORTED = const(4)

_VALIDATE_FAILED = const(-5379)  # ESP_ERR_OTA_VALIDATE_FAILED
_FIRST_OTA_SUBTYPE = const(0x10)
_OTA_SUBTYPES = const(16)
_OTADATA_SECTORS = const(2)
_OTADATA_RECORD = const("<I20sII")
_OTADATA_RECORD_BYTES = const(32)
_BLANK_SEQUENCE = const(0xFFFFFFFF)


class OtadataRecord:
    """What otadata says of a slot: the sequence number that chose it, and how that went."""

    def __init__(self, sequence: int, state: int) -> None:
        self.sequence = sequence
        self.state = state


class Slots:
    """This board's slots. `partition` is `esp32.Partition`; `running` is the slot this firmware runs from.

    PermanentError on a board whose partition table has no two OTA slots."""

    def __init__(self, partition) -> None:
        self._partition = partition
        self.running = Slot(partition(partition.RUNNING))
        otadata = partition.find(partition.TYPE_DATA, 0)
        apps = [Slot(app) for app in partition.find(partition.TYPE_APP)]
        self._count = len([app for app in apps if 0 <= app.subtype - _FIRST_OTA_SUBTYPE < _OTA_SUBTYPES])
        if not otadata or self._count < 2:
            raise PermanentError("no_slots")
        self._otadata = otadata[0]

    def named(self, label: str) -> Slot:
        """Return the slot with this label. OSError without one."""
        return Slot(self._partition(label))

    def free(self) -> Slot:
        """Return the slot the next firmware goes into, once otadata chooses the running one, see `_hold_running`.

        RuntimeError while the running firmware is on trial: the other slot is then the way back. PermanentError without
        another slot."""
        if self.on_trial():
            raise RuntimeError("on trial")
        slot = Slot(self.running.partition.get_next_update())
        if slot.address == self.running.address:
            raise PermanentError("no_slots")
        self._hold_running()
        return slot

    def state(self, slot: Slot) -> "int | None":
        """Return the state in the newest otadata record that names `slot`; None when no record does."""
        newest = self.newest(slot)
        return newest.state if newest else None

    def newest(self, slot: Slot) -> "OtadataRecord | None":
        """Return the newest otadata record that names `slot`; None when no record does."""
        found = None
        record = bytearray(_OTADATA_RECORD_BYTES)
        for sector in range(_OTADATA_SECTORS):
            self._otadata.readblocks(sector, record, 0)
            sequence, _, state, crc = struct.unpack(_OTADATA_RECORD, record)
            if sequence == _BLANK_SEQUENCE or crc != binascii.crc32(record[:4], 0xFFFFFFFF):
                continue
            names_slot = (sequence - 1) % self._count == slot.subtype - _FIRST_OTA_SUBTYPE
            if names_slot and (found is None or sequence > found.sequence):
                found = OtadataRecord(sequence, state)
        return found

    def failed(self, label: str) -> bool:
        """Return True when the boot loader has tried that slot, with this image or an earlier one, and did not stay."""
        return self.state(self.named(label)) in (_PENDING_VERIFY, _INVALID, _ABORTED)

    def on_trial(self) -> bool:
        """Return True while the running firmware has its one boot to prove itself."""
        return self.state(self.running) == _PENDING_VERIFY

    def what_runs(self) -> Running:
        """Return slot and image of the running firmware, and whether it is on trial."""
        return Running(self.running.label, fingerprint(self.running) or "", self.on_trial())

    def chosen(self) -> Slot:
        """Return the slot that the boot loader would take at the next reset."""
        return Slot(self._partition(self._partition.BOOT))

    def mark_valid(self) -> None:
        """End the trial: the running firmware stays. RetryableError when the mark did not stick."""
        # The mark goes to the ACTIVE record. After a fall-back by the boot loader that is another slot than the running
        # one, and after set_boot it is one that has never run.
        if self.chosen().address == self.running.address:
            self._partition.mark_app_valid_cancel_rollback()
            if self.state(self.running) == _VALID:
                return
        raise RetryableError("not_marked", self.running.label)

    def _hold_running(self) -> None:
        """Have the boot loader stay with the running firmware, should it have fallen back to it.

        It falls back from an image that it cannot load and leaves otadata as it is: the free slot is then still
        chosen, as proven, and whatever is written into it would boot without a trial."""
        if self.chosen().address != self.running.address:
            self.running.partition.set_boot()
            self._partition.mark_app_valid_cancel_rollback()


def arm(partition, slot: Slot) -> None:
    """Have the boot loader try `slot` at the next reset. PermanentError when the chip's own check refuses it.

    `partition` is `esp32.Partition`."""
    # A second set_boot for the same slot overwrites the running slot's record (ESP-IDF up to 5.5.5).
    if Slot(partition(partition.BOOT)).address == slot.address:
        return
    try:
        slot.partition.set_boot()
    except OSError as error:
        if error.errno == _VALIDATE_FAILED:
            raise PermanentError("refused_by_chip", error)
        raise RetryableError("flash_failed", slot.label, error)

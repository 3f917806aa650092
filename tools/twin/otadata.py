"""The two otadata records that tell the boot loader which slot to start (ESP-IDF: esp_ota_ops.c)."""

import binascii
import struct

SECTOR_BYTES = 4096
NEW, PENDING_VERIFY, VALID, INVALID, ABORTED = 0, 1, 2, 3, 4
UNDEFINED = BLANK = 0xFFFFFFFF

_RECORD = "<I20sII"


def crc(sequence):
    """The record's check value: it covers the sequence number only."""
    return binascii.crc32(struct.pack("<I", sequence), 0xFFFFFFFF) & 0xFFFFFFFF


def read_records(flash, address):
    """Return both records as (sequence, state, whether the check value fits)."""
    records = []
    for sector in range(2):
        sequence, _, state, check = struct.unpack(_RECORD, flash.read(address + sector * SECTOR_BYTES, 32))
        records.append((sequence, state, sequence != BLANK and check == crc(sequence)))
    return records


def write_record(flash, address, sector, sequence, state):
    """Replace one record: erase, THEN write, as ESP-IDF does."""
    flash.erase(address + sector * SECTOR_BYTES)
    record = struct.pack(_RECORD, sequence, b"\xff" * 20, state, crc(sequence))
    flash.program(address + sector * SECTOR_BYTES, record)


def active_sector(records):
    """The sector whose record counts, None when neither does; a tie goes to sector 0."""
    usable = [sound and state not in (INVALID, ABORTED) for _, state, sound in records]
    if usable[0] and usable[1]:
        return 0 if records[0][0] >= records[1][0] else 1
    return 0 if usable[0] else 1 if usable[1] else None


def select(flash, address, slot, slots_count):
    """Have the boot loader start slot number `slot` next: esp_rewrite_ota_data, with rollback enabled."""
    records = read_records(flash, address)
    active = active_sector(records)
    if active is None:
        write_record(flash, address, 0, slot + 1, NEW)
        return
    sequence = (slot + 1) % slots_count
    while records[active][0] > sequence:
        sequence += slots_count
    write_record(flash, address, 1 - active, sequence, NEW)


def mark_valid(flash, address):
    """Mark the ACTIVE record VALID, whichever slot runs; nothing to do when it is. False without an active record."""
    records = read_records(flash, address)
    active = active_sector(records)
    if active is None:
        return False
    if records[active][1] != VALID:
        write_record(flash, address, active, records[active][0], VALID)
    return True


def abort_pending(flash, address):
    """What the boot loader does first: an image still PENDING_VERIFY had its one boot and becomes ABORTED.

    It does not look at the crc and leaves it as it is."""
    for sector in range(2):
        record = flash.read(address + sector * SECTOR_BYTES, 32)
        if struct.unpack_from("<I", record, 24)[0] == PENDING_VERIFY:
            record[24] = ABORTED
            flash.erase(address + sector * SECTOR_BYTES)
            flash.program(address + sector * SECTOR_BYTES, record)

"""The partition table, as it lies at 0x8000: what is where on the flash."""

import struct

TABLE_ADDRESS = 0x8000
TABLE_BYTES = 0xC00
TYPE_APP = 0
TYPE_DATA = 1
SUBTYPE_FACTORY = 0
SUBTYPE_OTA_0 = 0x10
SUBTYPE_OTADATA = 0

_ENTRY = "<HBBII16sI"


def read_table(flash):
    """All partitions as (type, subtype, address, size_bytes, label, encrypted), in the table's order."""
    entries = []
    for at in range(0, TABLE_BYTES, 32):
        magic, kind, subtype, address, size, label, _ = struct.unpack(_ENTRY, flash.read(TABLE_ADDRESS + at, 32))
        if magic != 0x50AA:
            break
        entries.append((kind, subtype, address, size, str(label, "ascii").rstrip("\0"), False))
    return entries


def ota_slots(table):
    """The OTA app partitions, ota_0 first."""
    return sorted(
        (entry for entry in table if entry[0] == TYPE_APP and SUBTYPE_OTA_0 <= entry[1] < SUBTYPE_OTA_0 + 16),
        key=lambda entry: entry[1],
    )


def factory(table):
    """The factory app partition, None without one."""
    for entry in table:
        if entry[0] == TYPE_APP and entry[1] == SUBTYPE_FACTORY:
            return entry
    return None


def otadata(table):
    """The otadata partition, None without one."""
    for entry in table:
        if entry[0] == TYPE_DATA and entry[1] == SUBTYPE_OTADATA:
            return entry
    return None

"""What a power cut leaves on the virtual chip's flash, and what the boot loader makes of it."""

import io
import struct

import esp32
import pytest

from tools import factory
from tools.twin import bootloader, hardware, otadata
from tools.twin.cut_flash import KINDS, CutFlash
from tools.twin.image import make_image

SECTOR = 4096
OTADATA, OTA_1 = 0xD000, 0x20000
LAYOUT = [
    ("otadata", 1, 0, OTADATA, 0x2000),
    ("ota_0", 0, 0x10, 0x10000, 0x10000),
    ("ota_1", 0, 0x11, OTA_1, 0x10000),
    ("vfs", 1, 0x81, 0x30000, 0x4000),
]


class Off(BaseException):
    """The power is gone."""


def power_on(cut=None, seed=0, records=((1, otadata.VALID),), memory=None):
    """A chip with images in both slots, whose power fails at `cut`; gives its flash and its memory."""
    if memory is None:
        memory = bytearray(b"\xff" * 0x40000)
        table = factory.partition_table(LAYOUT)
        memory[0x8000 : 0x8000 + len(table)] = table
        for address, kind in ((0x10000, 1), (OTA_1, 2)):
            image = make_image(kind)
            memory[address : address + len(image)] = image
        for sector, (sequence, state) in enumerate(records):
            record = struct.pack("<I20sII", sequence, b"\xff" * 20, state, otadata.crc(sequence))
            memory[OTADATA + sector * SECTOR : OTADATA + sector * SECTOR + 32] = record
    file = io.BytesIO(memory)

    def power_off():
        raise Off

    flash = CutFlash(file, cut, power_off, seed)
    hardware.power_on(flash, {"wifi": {}, "ds18x20": None, "chip": 40.0}, "ota_0")
    return flash, file


def after(file):
    """The same chip at its next power-on: what the boot loader starts, and the records it leaves."""
    flash, _ = power_on(memory=bytearray(file.getvalue()))
    label = bootloader.start(flash)[0]
    return label, [(seq, state) if sound else None for seq, state, sound in otadata.read_records(flash, OTADATA)]


def test_clean_torn_and_last_are_before_within_and_after_the_operation():
    data = bytes(range(1, 201))
    found = {}
    for kind in KINDS:
        flash, file = power_on((0, kind))
        with pytest.raises(Off):
            flash.program(0x30000, data)
        found[kind] = file.getvalue()[0x30000 : 0x30000 + len(data)]
    assert found["clean"] == b"\xff" * 200 and found["last"] == data
    done = len(found["torn"].rstrip(b"\xff"))
    assert 0 < done < 200 and found["torn"] == data[:done] + b"\xff" * (200 - done)


def test_torn_erase_leaves_a_part_blank_or_bits_that_are_neither():
    shapes = set()
    for seed in range(24):
        flash, file = power_on((1, "torn"), seed)
        flash.program(0x30000, b"\x0f" * SECTOR)
        with pytest.raises(Off):
            flash.erase(0x30000)
        sector = file.getvalue()[0x30000 : 0x30000 + SECTOR]
        blank = len(sector) - len(sector.lstrip(b"\xff"))
        if sector[blank:] == b"\x0f" * (SECTOR - blank):
            shapes.add("part blank")
        else:
            assert all(byte & 0x0F == 0x0F for byte in sector), "an erase clears no bits"
            shapes.add("unstable")
    assert shapes == {"part blank", "unstable"}


def test_nothing_is_written_once_the_power_is_gone():
    flash, file = power_on((0, "clean"))
    for _ in range(2):
        with pytest.raises(Off):
            flash.erase(0x30000)
    with pytest.raises(Off):
        flash.program(0x30000, b"\0")
    assert file.getvalue()[0x30000:0x30001] == b"\xff"


def test_operations_count_over_slots_otadata_files_and_the_boot_loader():
    flash, _ = power_on()
    esp32.Partition("ota_1").writeblocks(0, make_image(2)[:SECTOR])
    assert flash.operations == 2
    esp32.Partition("ota_1").set_boot()
    assert flash.operations == 4
    bootloader.start(flash)
    assert flash.operations == 6, "NEW became PENDING_VERIFY"
    esp32.Partition("vfs").writeblocks(0, bytes(2), 8)
    assert flash.operations == 7


@pytest.mark.parametrize(
    "number, kind, label, state",
    [
        (0, "clean", "ota_0", otadata.ABORTED),  # still PENDING_VERIFY: its one boot is over
        (0, "last", "ota_0", None),  # erased, not written
        (1, "clean", "ota_0", None),
        (1, "torn", "ota_0", None),
        (1, "last", "ota_1", otadata.VALID),
    ],
)
def test_cut_during_mark_valid_boots_old(number, kind, label, state):
    _flash, file = power_on((number, kind), records=((1, otadata.VALID), (2, otadata.PENDING_VERIFY)))
    hardware.running = "ota_1"
    with pytest.raises(Off):
        esp32.Partition.mark_app_valid_cancel_rollback()
    assert after(file) == (label, [(1, otadata.VALID), state and (2, state)])


@pytest.mark.parametrize(
    "number, kind, label",
    [(0, "clean", "ota_0"), (0, "last", "ota_0"), (1, "clean", "ota_0"), (1, "torn", "ota_0"), (1, "last", "ota_1")],
)
def test_cut_during_set_boot_boots_old_until_the_record_is_whole(number, kind, label):
    _flash, file = power_on((number, kind))
    with pytest.raises(Off):
        esp32.Partition("ota_1").set_boot()
    assert after(file)[0] == label


def test_cut_between_the_boot_loaders_erase_and_write_loses_the_trial_not_the_way_back():
    flash, file = power_on((0, "last"), records=((1, otadata.VALID), (2, otadata.NEW)))
    with pytest.raises(Off):
        bootloader.start(flash)
    assert after(file) == ("ota_0", [(1, otadata.VALID), None])


def test_half_overwritten_slot_keeps_its_valid_record_and_is_passed_over():
    records = ((1, otadata.VALID), (2, otadata.VALID))
    _flash, file = power_on((3, "torn"), records=records)
    with pytest.raises(Off):
        esp32.Partition("ota_1").writeblocks(0, make_image(3)[: 2 * SECTOR]), esp32.Partition("ota_1").ioctl(6, 2)
    assert after(file) == ("ota_0", list(records))

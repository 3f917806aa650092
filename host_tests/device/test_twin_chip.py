"""The virtual chip at the edges of ESP-IDF's rules: other partition tables, refused calls, torn and unusual otadata.

A twin that is kinder than the chip would let an agent pass that bricks boards.
"""

import io
import struct

import esp32
import pytest

from tools import factory, firmware
from tools.twin import bootloader, hardware, image, otadata
from tools.twin.flash import Flash
from tools.twin.image import make_image

SECTOR = 4096
SLOT = 0x10000
TWO_SLOTS = [
    ("otadata", 1, 0, 0xD000, 0x2000),
    ("ota_0", 0, 0x10, 0x10000, SLOT),
    ("ota_1", 0, 0x11, 0x20000, SLOT),
    ("vfs", 1, 0x81, 0x30000, 0x4000),
]
FACTORY = ("factory", 0, 0, 0x40000, SLOT)
THIRD = ("ota_2", 0, 0x12, 0x50000, SLOT)


def power_on(layout=TWO_SLOTS, images=(), records=(), running="ota_0"):
    """A flash chip with these partitions, {label: image} and otadata records (sequence, state); gives the flash."""
    memory = bytearray(b"\xff" * 0x60000)
    places = {}
    for at, (label, kind, subtype, address, size) in enumerate(layout):
        entry = struct.pack("<HBBII16sI", 0x50AA, kind, subtype, address, size, label.encode(), 0)
        memory[0x8000 + at * 32 : 0x8020 + at * 32] = entry
        places[label] = address
    for label, content in dict(images or {"ota_0": make_image(1)}).items():
        memory[places[label] : places[label] + len(content)] = content
    flash = Flash(io.BytesIO(memory))
    for sector, record in enumerate(records):
        if record:
            otadata.write_record(flash, 0xD000, sector, *record)
    flash.operations = 0
    hardware.power_on(flash, {"wifi": {}, "ds18x20": None, "chip": 40.0}, running)
    return flash


def records(flash):
    """Both records as (sequence, state); None for one that is blank or whose crc is wrong."""
    return [(sequence, state) if sound else None for sequence, state, sound in otadata.read_records(flash, 0xD000)]


def error_of(function, *args):
    with pytest.raises(OSError) as caught:
        function(*args)
    return caught.value.args[0]


# NOR flash


def test_every_erase_and_program_is_announced_before_it_happens():
    flash = power_on()
    seen = []
    flash.on_operation = lambda *operation: seen.append((*operation, bytes(flash.read(0x30000, 1))))
    esp32.Partition("vfs").writeblocks(0, bytes(2 * SECTOR))
    assert seen == [
        (0, "erase", 0x30000, SECTOR, b"\xff"),
        (1, "erase", 0x31000, SECTOR, b"\xff"),
        (2, "program", 0x30000, 2 * SECTOR, b"\xff"),
    ]
    assert flash.operations == 3


# esp32.Partition as a block device


def test_erasing_a_block_stays_inside_the_partition():
    power_on()
    vfs = esp32.Partition("vfs")
    assert esp32.Partition("vfs", block_size=512).ioctl(4, 0) == 32
    assert esp32.Partition("vfs", block_size=512).ioctl(6, 0) == -22
    assert error_of(vfs.ioctl, 6, 4) == -260
    assert error_of(vfs.ioctl, 6, 5) == -258


@pytest.mark.parametrize(
    "block, size, offset, code",
    [
        (0, 100, None, -260),
        (4, SECTOR, None, -260),
        (3, 2 * SECTOR, None, -260),
        (5, SECTOR, None, -258),
        (3, SECTOR, 1, -260),
        (4, 1, 1, -258),
    ],
)
def test_a_write_that_does_not_fit_writes_nothing(block, size, offset, code):
    flash = power_on()
    arguments = (block, bytes(size)) if offset is None else (block, bytes(size), offset)
    assert error_of(esp32.Partition("vfs").writeblocks, *arguments) == code
    assert flash.operations == 0


def test_a_read_past_the_end_is_refused():
    power_on()
    vfs = esp32.Partition("vfs")
    assert error_of(vfs.readblocks, 3, bytearray(SECTOR + 1)) == -260
    assert error_of(vfs.readblocks, 5, bytearray(1)) == -258
    odd = bytearray(5)
    vfs.readblocks(3, odd, SECTOR - 5)
    assert odd == b"\xff" * 5


def test_blocks_smaller_than_a_sector_leave_their_neighbours_alone():
    power_on()
    vfs = esp32.Partition("vfs")
    vfs.writeblocks(0, b"\x11" * 2 * SECTOR)
    esp32.Partition("vfs", 512).writeblocks(6, b"\xee" * 2048)
    found = bytearray(2 * SECTOR)
    vfs.readblocks(0, found)
    assert found == b"\x11" * 3072 + b"\xee" * 2048 + b"\x11" * 3072


@pytest.mark.parametrize("write", [lambda part: part.writeblocks(0, bytes(SECTOR)), lambda part: part.ioctl(6, 0)])
@pytest.mark.parametrize("label", ["ota_0", "bootloader", "table"])
def test_writing_what_the_chip_runs_from_aborts(label, write):
    layout = [*TWO_SLOTS, ("bootloader", 1, 0x40, 0x1000, 0x7000), ("table", 1, 0x41, 0x8000, 0x1000)]
    flash = power_on(layout)
    with pytest.raises(hardware.PowerLoss, match="panic"):
        write(esp32.Partition(label))
    assert flash.operations == 0


@pytest.mark.parametrize("op, value", [(1, 0), (2, 0), (3, 0), (4, 4), (5, 4096), (7, None), (0, None)])
def test_ioctl_counts_blocks_and_knows_nothing_of_the_rest(op, value):
    flash = power_on()
    assert esp32.Partition("vfs").ioctl(op, 0) == value
    assert flash.operations == 0


def test_a_write_with_an_offset_erases_nothing_has_any_length_and_clears_bits_without_an_error():
    flash = power_on()
    vfs = esp32.Partition("vfs")
    vfs.writeblocks(0, b"\x0f", 4095)
    vfs.writeblocks(0, b"\xf3\xff\x00", 4095)
    assert flash.read(0x30FFE, 5) == b"\xff\x03\xff\x00\xff" and flash.operations == 2


def test_a_raw_write_to_the_other_slot_is_not_refused_while_on_trial():
    flash = power_on(images=BOTH, records=[(1, 2), (2, 1)], running="ota_1")
    esp32.Partition("ota_0").writeblocks(0, bytes(SECTOR))
    assert flash.operations == 2, "ESP-IDF refuses in esp_ota_begin only: the agent has to"


# Which partition is which


def test_the_constants_and_the_defaults_of_find():
    assert (esp32.Partition.BOOT, esp32.Partition.RUNNING) == (0, 1)
    assert (esp32.Partition.TYPE_APP, esp32.Partition.TYPE_DATA) == (0, 1)
    power_on([*TWO_SLOTS, FACTORY])
    assert [part.info()[4] for part in esp32.Partition.find()] == ["ota_0", "ota_1", "factory"]
    assert [part.info()[4] for part in esp32.Partition.find(subtype=0x11)] == ["ota_1"]
    assert [part.info()[4] for part in esp32.Partition.find(esp32.Partition.TYPE_DATA)] == ["otadata", "vfs"]
    assert esp32.Partition.find(label="factory", block_size=512)[0].ioctl(5, 0) == 512


def test_subtypes_are_espressifs():
    power_on(factory.LAYOUT)
    found = {part.info()[4]: part.info()[:2] for kind in (0, 1) for part in esp32.Partition.find(kind)}
    assert found == {
        "nvs": (1, 2),
        "otadata": (1, 0),
        "phy_init": (1, 1),
        "ota_0": (0, 0x10),
        "ota_1": (0, 0x11),
        "vfs": (1, 0x81),
    }
    slot = factory.place("ota_1", factory.LAYOUT)
    assert esp32.Partition("ota_1").info() == (0, 0x11, slot.address, slot.size, "ota_1", False)


def test_an_id_that_is_neither_boot_nor_running_is_a_value_error():
    power_on()
    with pytest.raises(ValueError):
        esp32.Partition(7)


def test_next_update_goes_round_from_the_partition_asked():
    power_on([*TWO_SLOTS, THIRD, FACTORY])
    found = [esp32.Partition(label).get_next_update().info()[4] for label in ("ota_0", "ota_1", "ota_2", "factory")]
    assert found == ["ota_1", "ota_2", "ota_0", "ota_0"]


def test_no_next_update_without_ota_slots():
    power_on([FACTORY], {"factory": make_image(1)}, running="factory")
    assert error_of(esp32.Partition("factory").get_next_update) == 2


def test_boot_without_usable_records_is_factory_else_the_first_slot():
    power_on()
    assert esp32.Partition(esp32.Partition.BOOT).info()[4] == "ota_0"
    power_on([*TWO_SLOTS, FACTORY])
    assert esp32.Partition(esp32.Partition.BOOT).info()[4] == "factory"
    power_on(TWO_SLOTS[1:])
    assert error_of(esp32.Partition, esp32.Partition.BOOT) == 2


# otadata


def test_a_record_is_32_bytes_of_sequence_label_state_and_crc():
    flash = power_on()
    otadata.write_record(flash, 0xD000, 1, 2, otadata.ABORTED)
    label = b"\xff" * 20
    assert flash.read(0xE000, 33) == b"\x02\0\0\0" + label + b"\x04\0\0\0" + b"\x74\x37\xf6\x55" + b"\xff"
    states = otadata.NEW, otadata.PENDING_VERIFY, otadata.VALID, otadata.INVALID, otadata.ABORTED, otadata.UNDEFINED
    assert states == (0, 1, 2, 3, 4, 0xFFFFFFFF)


@pytest.mark.parametrize(
    "before, label",
    [
        ([(5, 2), (5, 2)], "ota_0"),
        ([(2, 2), (2, 2)], "ota_1"),
        ([(4, 2), (7, 3)], "ota_1"),
        ([(9, 4), (8, 2)], "ota_1"),
    ],
)
def test_the_slot_is_that_of_the_highest_usable_sequence_modulo_the_slots(before, label):
    flash = power_on(images=BOTH, records=before)
    assert esp32.Partition(esp32.Partition.BOOT).info()[4] == label == bootloader.start(flash)[0]
    assert flash.operations == 0


def test_the_crc_does_not_cover_the_state():
    flash = power_on(records=[(1, otadata.UNDEFINED)])
    flash.program(0xD018, struct.pack("<I", otadata.VALID))
    assert records(flash)[0] == (1, otadata.VALID)


@pytest.mark.parametrize(
    "before, label, after",
    [
        ([None, None], "ota_1", [(2, 0), None]),
        ([(1, 2), None], "ota_1", [(1, 2), (2, 0)]),
        ([(1, 2), (2, 2)], "ota_0", [(3, 0), (2, 2)]),
        ([(1, 2), (2, 4)], "ota_1", [(1, 2), (2, 0)]),
        ([(1, 2), None], "ota_0", [(1, 2), (1, 0)]),  # for the slot that is active already: a tie
        ([(1, 2), (2, 0)], "ota_1", [(2, 0), (2, 0)]),  # twice: the way back is gone
        ([(7, 2), (6, 2)], "ota_1", [(7, 2), (8, 0)]),
    ],
)
def test_set_boot_writes_the_other_record_as_new(before, label, after):
    flash = power_on(images={"ota_0": make_image(1), "ota_1": make_image(2)}, records=before)
    esp32.Partition(label).set_boot()
    assert records(flash) == after


def test_set_boot_for_one_of_three_slots():
    images = {label: make_image(1) for label in ("ota_0", "ota_1", "ota_2")}
    flash = power_on([*TWO_SLOTS, THIRD], images, [(4, 2), (2, 2)])
    esp32.Partition("ota_2").set_boot()
    assert records(flash) == [(4, 2), (6, 0)]


def test_set_boot_for_the_factory_app_erases_otadata():
    flash = power_on([*TWO_SLOTS, FACTORY], {"factory": make_image(1)}, [(1, 2), (2, 2)])
    esp32.Partition("factory").set_boot()
    assert records(flash) == [None, None]


def test_set_boot_needs_an_app_partition_and_otadata():
    app = make_image(1)
    flash = power_on(images={"ota_0": app, "vfs": app}, records=[(1, 2)])
    assert error_of(esp32.Partition("vfs").set_boot) == -258
    assert error_of(esp32.Partition("ota_1").set_boot) == -5379
    assert flash.operations == 0
    power_on(TWO_SLOTS[1:])
    assert error_of(esp32.Partition("ota_0").set_boot) == -261
    assert error_of(esp32.Partition.mark_app_valid_cancel_rollback) == -261


def test_mark_valid_marks_the_active_record_even_if_another_slot_runs():
    flash = power_on(records=[(1, 2), (2, 0)], running="ota_0")
    esp32.Partition.mark_app_valid_cancel_rollback()
    assert records(flash) == [(1, 2), (2, 2)]
    assert flash.operations == 2
    esp32.Partition.mark_app_valid_cancel_rollback()
    assert flash.operations == 2, "marked again what was valid already"


def test_mark_valid_without_an_active_record_fails():
    power_on()
    assert error_of(esp32.Partition.mark_app_valid_cancel_rollback) == 1


# App images


def damaged(at, value):
    content = bytearray(make_image(1))
    content[at] = value
    return bytes(content)


@pytest.mark.parametrize(
    "content, why",
    [
        (b"", "no image"),
        (damaged(0, 0xE8), "no image"),
        (make_image(1, segments=0), "segment count"),
        (make_image(1, segments=17), "segment count"),
        (make_image(1, chip_id=9), "another chip"),
        (damaged(16, 4), "newer chip"),
        (damaged(18, 0), "older chip"),
        (damaged(28, 1), "segment"),
        (make_image(1, size_bytes=SLOT), "past the end"),
        (make_image(1)[:-33] + b"\0" + make_image(1)[-32:], "checksum"),
        (damaged(100, 0x55), "checksum"),
        (damaged(40, 2), "checksum"),
        (make_image(1)[:-1], "hash"),
    ],
)
def test_an_image_the_chip_would_refuse(content, why):
    flash = power_on(images={"ota_0": make_image(1), "ota_1": content[:SLOT]})
    assert why in image.problem(flash, 0x20000, SLOT)
    assert error_of(esp32.Partition("ota_1").set_boot) == -5379


def test_two_flipped_bytes_get_past_the_checksum_but_not_past_the_hash():
    content = bytearray(make_image(1))
    content[100] ^= 1
    content[101] ^= 1
    flash = power_on(images={"ota_0": bytes(content)})
    assert "hash" in image.problem(flash, 0x10000, SLOT)
    content[23] = 0
    flash = power_on(images={"ota_0": bytes(content)})
    assert image.problem(flash, 0x10000, SLOT) is None, "without a hash there is only the checksum"


def test_the_header_and_the_descriptor_lie_where_espressif_put_them():
    app = firmware.app_image("1.27.0")
    assert len(app) == 1_698_016 and 0x180000 < len(app) <= factory.FORMER_SLOT_BYTES
    assert app[0] == 0xE9 and 1 <= app[1] <= 16 and app[12:14] == b"\0\0" and app[23] == 1
    magic, secure_version = struct.unpack_from("<II", app, 32)
    assert (magic, secure_version) == (0xABCD5432, 0)
    assert app[48:112] == bytes(64), "MicroPython leaves version and project name empty"
    assert app[32 + 112 : 32 + 144].rstrip(b"\0").startswith(b"v5"), "idf_ver"
    assert len(set(app[0xB0:0xD0])) > 16, "app_elf_sha256"


def test_a_boot_loader_passes_for_an_image_and_only_its_descriptor_tells():
    combined = firmware.combined_image("1.27.0").read_bytes()
    flash = power_on(images={"ota_0": make_image(1), "ota_1": combined[: 0x8000 - 0x1000]}, records=[(1, 2)])
    esp32.Partition("ota_1").set_boot()
    assert records(flash)[1] == (2, otadata.NEW)
    assert flash.read(0x20020, 4) != struct.pack("<I", 0xABCD5432)


# The boot loader


BOTH = {"ota_0": make_image(1), "ota_1": make_image(2)}


@pytest.mark.parametrize(
    "before, label, after",
    [
        ([None, None], "ota_0", [(1, 2), None]),  # the factory's first boot
        ([(1, 2), (2, 0)], "ota_1", [(1, 2), (2, 1)]),  # a trial begins
        ([(1, 2), (2, 1)], "ota_0", [(1, 2), (2, 4)]),  # a trial that did not confirm
        ([(1, 1), (2, 1)], "ota_0", [(1, 4), (2, 4)]),  # both
        ([(1, 2), (2, 2)], "ota_1", [(1, 2), (2, 2)]),
        ([(1, 2), (2, 3)], "ota_0", [(1, 2), (2, 3)]),
        ([(1, 2), (2, 0xFFFFFFFF)], "ota_1", [(1, 2), (2, 0xFFFFFFFF)]),
        ([(1, 4), (2, 4)], "ota_0", [(1, 4), (2, 4)]),
    ],
)
def test_boot_loader_steps(before, label, after):
    flash = power_on(images=BOTH, records=before)
    assert bootloader.start(flash)[0] == label
    assert records(flash) == after


def test_first_boot_from_another_slot_than_the_first_is_noted_as_that_slot():
    flash = power_on(images={"ota_1": make_image(2)})
    assert bootloader.start(flash)[0] == "ota_1"
    assert records(flash) == [(2, otadata.VALID), None]


def test_mark_valid_before_the_reset_blesses_what_has_never_booted():
    flash = power_on(images=BOTH, records=[(1, 2)])
    esp32.Partition("ota_1").set_boot()
    esp32.Partition.mark_app_valid_cancel_rollback()
    assert [bootloader.start(flash)[0] for _ in range(3)] == ["ota_1"] * 3, "no trial, no way back"


def test_set_boot_twice_boots_a_bad_image_for_ever():
    flash = power_on(images=BOTH, records=[None, (2, 2)], running="ota_1")
    for _ in range(2):
        esp32.Partition("ota_0").set_boot()
    assert [bootloader.start(flash)[0] for _ in range(5)] == ["ota_0"] * 5
    assert records(flash) == [(3, otadata.ABORTED), (3, otadata.ABORTED)], "no record of the proven slot is left"


def test_a_boot_that_changes_nothing_writes_nothing():
    flash = power_on(images=BOTH, records=[(1, 2), (2, 2)])
    bootloader.start(flash)
    assert flash.operations == 0


def test_without_records_the_factory_app_starts():
    flash = power_on([*TWO_SLOTS, FACTORY], {**BOTH, "factory": make_image(3)})
    assert bootloader.start(flash)[0] == "factory"
    assert flash.operations == 0


def test_a_torn_record_is_no_first_boot():
    flash = power_on(images=BOTH)
    flash.program(0xD000, struct.pack("<I20sI", 2, b"\xff" * 20, otadata.VALID))  # its crc was never written
    flash.operations = 0
    assert bootloader.start(flash)[0] == "ota_0"
    assert flash.operations == 0


def test_a_torn_pending_record_is_aborted_without_a_look_at_its_crc():
    flash = power_on(images=BOTH, records=[(1, 2)])
    flash.program(0xE000, struct.pack("<I20sI", 2, b"\xff" * 20, otadata.PENDING_VERIFY))
    assert bootloader.start(flash)[0] == "ota_0"
    assert flash.read(0xE018, 8) == struct.pack("<II", otadata.ABORTED, 0xFFFFFFFF)


@pytest.mark.parametrize(
    "bad, chosen, label",
    [
        (["ota_1"], 2, "ota_0"),
        (["ota_0"], 1, "factory"),
        (["ota_0", "factory"], 1, "ota_1"),
        (["ota_2", "ota_1", "ota_0"], 3, "factory"),
        (["ota_1", "ota_0", "factory"], 2, "ota_2"),
    ],
)
def test_an_image_that_cannot_be_loaded_falls_backwards_to_factory_then_forwards(bad, chosen, label):
    labels = ("ota_0", "ota_1", "ota_2", "factory")
    images = {name: b"" if name in bad else make_image(1) for name in labels}
    flash = power_on([*TWO_SLOTS, THIRD, FACTORY], images, [(chosen, 2)])
    assert bootloader.start(flash)[0] == label
    assert records(flash) == [(chosen, 2), None], "otadata is not corrected"

"""The virtual ESP32 agrees with the chip: each test names the fact of ESP-IDF or MicroPython that it holds it to."""

import io
import struct
import subprocess
import sys

import esp32
import pytest
from esptool.bin_image import LoadFirmwareImage
from littlefs import LittleFS

from tools import factory, firmware
from tools.twin import bootloader, hardware, image, otadata, partitions
from tools.twin.__main__ import make_factory_fresh
from tools.twin.device import Twin
from tools.twin.flash import Flash
from tools.twin.image import make_image

OTADATA = 0xD000
OTA_0, OTA_1, VFS = (factory.place(label, factory.LAYOUT).address for label in ("ota_0", "ota_1", "vfs"))
SLOT_BYTES = OTA_1 - OTA_0
SLOT_BLOCKS = SLOT_BYTES // 4096

ON_BOTH = [pytest.param("vm", marks=pytest.mark.vm), "cpython"]


@pytest.fixture
def flash() -> Flash:
    """A 4 MiB chip with the OTA table, two small images and blank otadata; ota_0 runs."""
    memory = bytearray(b"\xff" * factory.FLASH_BYTES)
    table = factory.partition_table()
    memory[0x8000 : 0x8000 + len(table)] = table
    for address, seed in ((OTA_0, 1), (OTA_1, 2)):
        app = make_image(seed)
        memory[address : address + len(app)] = app
    flash = Flash(io.BytesIO(memory))
    hardware.power_on(flash, {"wifi": {}, "ds18x20": None, "chip": 40.0}, "ota_0")
    return flash


def record(flash, sector, sequence, state):
    otadata.write_record(flash, OTADATA, sector, sequence, state)


def records(flash):
    return [(sequence, state) if sound else None for sequence, state, sound in otadata.read_records(flash, OTADATA)]


# esp32.Partition


def test_info_and_find_give_the_table(flash):
    assert esp32.Partition("ota_1").info() == (0, 0x11, OTA_1, SLOT_BYTES, "ota_1", False)
    assert [part.info()[4] for part in esp32.Partition.find()] == ["ota_0", "ota_1"]
    assert [part.info()[4] for part in esp32.Partition.find(1, 0)] == ["otadata"]
    assert [part.info()[4] for part in esp32.Partition.find(1, label="vfs")] == ["vfs"]
    assert esp32.Partition.find(label="no") == []


def test_missing_label_is_oserror_2(flash):
    with pytest.raises(OSError) as error:
        esp32.Partition("factory")
    assert error.value.args[0] == 2


def test_writeblocks_erases_first_and_takes_whole_sectors_only(flash):
    slot = esp32.Partition("ota_1")
    slot.writeblocks(3, b"\x12" * 8192)
    slot.writeblocks(3, b"\xf0" * 4096)
    data = bytearray(8192)
    slot.readblocks(3, data)
    assert data == b"\xf0" * 4096 + b"\x12" * 4096
    before = flash.operations
    for block, size, code in ((3, 100, -260), (SLOT_BLOCKS - 1, 8192, -260), (SLOT_BLOCKS + 52, 4096, -258)):
        with pytest.raises(OSError) as error:
            slot.writeblocks(block, bytes(size))
        assert error.value.args[0] == code
    assert flash.operations == before, "a refused write must write nothing"


def test_writeblocks_with_offset_only_clears_bits(flash):
    slot = esp32.Partition("ota_1")
    slot.writeblocks(9, b"\xf0" * 4096)
    slot.writeblocks(9, b"\xaa\xaa\xaa", 5)
    data = bytearray(4)
    slot.readblocks(9, data, 4)
    assert data == b"\xf0\xa0\xa0\xa0"


def test_ioctl(flash):
    slot = esp32.Partition("ota_1")
    assert (slot.ioctl(4, 0), slot.ioctl(5, 0), slot.ioctl(1, 0), slot.ioctl(7, 0)) == (SLOT_BLOCKS, 4096, 0, None)
    slot.writeblocks(2, bytes(4096))
    assert slot.ioctl(6, 2) == 0
    assert flash.read(OTA_1 + 8192, 4096) == b"\xff" * 4096


def test_running_slot_cannot_be_written(flash):
    with pytest.raises(hardware.PowerLoss, match="running app"):
        esp32.Partition("ota_0").writeblocks(0, bytes(4096))


def test_get_next_update_wraps(flash):
    assert esp32.Partition("ota_0").get_next_update().info()[4] == "ota_1"
    hardware.running = "ota_1"
    assert esp32.Partition("ota_1").get_next_update().info()[4] == "ota_0"


def test_boot_is_the_active_record_and_running_is_not(flash):
    record(flash, 0, 1, otadata.VALID)
    esp32.Partition("ota_1").set_boot()
    assert esp32.Partition(esp32.Partition.BOOT).info()[4] == "ota_1"
    assert esp32.Partition(esp32.Partition.RUNNING).info()[4] == "ota_0"


@pytest.mark.parametrize("at", [0, 1, 12, 30, 100, 5000, -1, -33])
def test_set_boot_refuses_a_damaged_image(flash, at):
    app = bytearray(make_image(2))
    app[at] ^= 0x40
    flash.erase(OTA_1), flash.erase(OTA_1 + 4096), flash.erase(OTA_1 + 8192)
    flash.program(OTA_1, app)
    with pytest.raises(OSError) as error:
        esp32.Partition("ota_1").set_boot()
    assert error.value.args[0] == -5379


def test_set_boot_refuses_a_newer_chip_revision(flash):
    assert image.problem(flash, OTA_1, SLOT_BYTES) is None
    app = bytearray(make_image(2))
    app[15:17] = struct.pack("<H", 400)
    flash.erase(OTA_1)
    flash.program(OTA_1, app[:4096])
    assert image.problem(flash, OTA_1, SLOT_BYTES) == "needs a newer chip revision"


def test_set_boot_writes_the_other_sector_as_new(flash):
    record(flash, 0, 1, otadata.VALID)
    esp32.Partition("ota_1").set_boot()
    assert records(flash) == [(1, otadata.VALID), (2, otadata.NEW)]


def test_set_boot_twice_overwrites_the_running_record(flash):
    record(flash, 0, 1, otadata.VALID)
    esp32.Partition("ota_1").set_boot()
    esp32.Partition("ota_1").set_boot()
    assert records(flash) == [(2, otadata.NEW), (2, otadata.NEW)]


def test_mark_valid_goes_to_the_active_record_and_writes_once(flash):
    record(flash, 0, 1, otadata.VALID)
    record(flash, 1, 2, otadata.NEW)
    esp32.Partition.mark_app_valid_cancel_rollback()
    assert records(flash)[1] == (2, otadata.VALID)
    before = flash.operations
    esp32.Partition.mark_app_valid_cancel_rollback()
    assert flash.operations == before


def test_no_otadata_partition_is_minus_261(flash):
    flash.program(0x8000 + 32, bytes(2))  # the table ends before otadata
    with pytest.raises(OSError) as error:
        esp32.Partition.mark_app_valid_cancel_rollback()
    assert error.value.args[0] == -261


# otadata


def test_crc_of_known_records():
    assert (otadata.crc(1), otadata.crc(2)) == (0x4743989A, 0x55F63774)


def test_tie_goes_to_sector_0_and_unsound_records_do_not_count():
    assert otadata.active_sector([(5, otadata.VALID, True), (5, otadata.VALID, True)]) == 0
    assert otadata.active_sector([(5, otadata.VALID, True), (6, otadata.VALID, False)]) == 0
    assert otadata.active_sector([(5, otadata.VALID, True), (6, otadata.ABORTED, True)]) == 0
    assert otadata.active_sector([(5, otadata.INVALID, True), (4, otadata.UNDEFINED, True)]) == 1
    assert otadata.active_sector([(5, otadata.INVALID, True), (4, otadata.ABORTED, True)]) is None


def test_record_update_is_erase_then_write(flash):
    seen = []
    flash.on_operation = lambda number, kind, address, size: seen.append((kind, address))
    record(flash, 1, 2, otadata.NEW)
    assert seen == [("erase", OTADATA + 4096), ("program", OTADATA + 4096)]


# boot loader


def test_first_boot_writes_slot_0_valid(flash):
    assert bootloader.start(flash)[0] == "ota_0"
    assert records(flash) == [(1, otadata.VALID), None]


def test_new_becomes_pending_and_pending_becomes_aborted(flash):
    record(flash, 0, 1, otadata.VALID)
    record(flash, 1, 2, otadata.NEW)
    assert bootloader.start(flash) == ("ota_1", "on trial")
    assert records(flash)[1] == (2, otadata.PENDING_VERIFY)
    assert bootloader.start(flash) == ("ota_0", "as before")
    assert records(flash)[1] == (2, otadata.ABORTED)


def test_marked_in_time_it_stays(flash):
    record(flash, 0, 1, otadata.VALID)
    record(flash, 1, 2, otadata.NEW)
    bootloader.start(flash)
    esp32.Partition.mark_app_valid_cancel_rollback()
    assert bootloader.start(flash) == ("ota_1", "as before")


def test_record_lost_between_erase_and_write_returns_to_the_other_slot(flash):
    record(flash, 0, 1, otadata.VALID)
    record(flash, 1, 2, otadata.PENDING_VERIFY)
    flash.erase(OTADATA + 4096)
    assert bootloader.start(flash)[0] == "ota_0"


def test_image_that_cannot_be_loaded_falls_back_and_otadata_is_not_corrected(flash):
    record(flash, 0, 1, otadata.VALID)
    record(flash, 1, 2, otadata.VALID)
    flash.erase(OTA_1)
    before = records(flash)
    assert bootloader.start(flash)[0] == "ota_0"
    assert records(flash) == before


def test_nothing_to_boot_says_so(flash):
    flash.erase(OTA_0), flash.erase(OTA_1)
    with pytest.raises(bootloader.NothingToBoot):
        bootloader.start(flash)


def test_undefined_state_is_bootable(flash):
    record(flash, 0, 2, otadata.UNDEFINED)
    assert bootloader.start(flash)[0] == "ota_1"


# the image and the tools of others


def test_the_chips_verdict_is_that_of_real_firmware(flash):
    app = firmware.app_image("1.28.0")
    for at in range(0, len(app), 4096):
        flash.erase(OTA_1 + at)
    flash.program(OTA_1, app)
    assert image.problem(flash, OTA_1, SLOT_BYTES) is None
    flash.program(OTA_1 + 1_000_000, bytes(16))
    assert image.problem(flash, OTA_1, SLOT_BYTES) in ("wrong checksum", "wrong hash")


def test_flash_file_is_read_by_esptool_and_littlefs(tmp_path):
    path = tmp_path / "flash.bin"
    make_factory_fresh(path, "THERM00000000000001", "http://127.0.0.1:1")
    data = path.read_bytes()
    assert len(data) == 4 << 20
    app = tmp_path / "app.bin"
    app.write_bytes(data[OTA_0:OTA_1])
    assert LoadFirmwareImage("esp32", str(app)).stored_digest
    lfs = LittleFS(block_size=4096, block_count=len(data[VFS:]) // 4096, mount=False)
    lfs.context.buffer[:] = data[VFS:]
    lfs.mount()
    assert lfs.open("/serial.txt").read() == "THERM00000000000001\n"
    assert lfs.fs_stat().disk_version == 0x00020000


def test_partition_table_is_espressifs_format():
    table = partitions.read_table(Flash(io.BytesIO(bytes(0x8000) + factory.partition_table() + b"\xff" * 4096)))
    assert [(entry[4], entry[2], entry[3]) for entry in table] == [
        (label, address, size) for label, _, _, address, size in factory.LAYOUT
    ]


# power, resets, watchdog: in processes


def twin(tmp_path, runtime, main, boot="", world=None):
    path = tmp_path / "flash.bin"
    files = {"/boot.py": boot.encode(), "/main.py": main.encode()}
    path.write_bytes(factory.flash_image(firmware.combined_image("1.27.0"), files))
    return Twin(path, runtime, world)


@pytest.mark.parametrize("runtime", ON_BOTH)
def test_nothing_but_flash_survives_a_reset(tmp_path, runtime):
    main = """
import machine, sys
try:
    print("found", open("/note").read(), hasattr(sys, "mine"), machine.reset_cause() == machine.HARD_RESET)
except OSError as error:
    print("nothing", error.errno)
    with open("/note", "w") as file:
        file.write("kept")
    machine.reset()
    print("never")
"""
    result = twin(tmp_path, runtime, main).power_on()
    assert "nothing 2" in result.console and "found kept False True" in result.console
    assert "never" not in result.console and (result.reason, result.boots) == ("ended", 2)


@pytest.mark.parametrize("runtime", ON_BOTH)
def test_watchdog_resets_a_program_that_hangs(tmp_path, runtime):
    main = """
import machine
print("cause", machine.reset_cause() == machine.WDT_RESET)
machine.WDT(timeout=300)
while True:
    pass
"""
    result = twin(tmp_path, runtime, main).power_on(max_boots=2)
    assert result.reason == "boots" and result.console.count("cause") == 2 and "cause True" in result.console


@pytest.mark.parametrize("runtime", ON_BOTH)
def test_fed_watchdog_stays_quiet(tmp_path, runtime):
    main = """
import machine, time
wdt = machine.WDT(timeout=300)
for _ in range(6):
    time.sleep(0.1)
    wdt.feed()
print("quiet")
"""
    result = twin(tmp_path, runtime, main).power_on(max_boots=2, until=lambda console: "quiet" in console)
    assert (result.reason, result.boots) == ("until", 1), result.console


@pytest.mark.parametrize("runtime", ON_BOTH)
def test_watchdog_resets_a_board_whose_program_has_ended(tmp_path, runtime):
    main = """
import machine
print("cause", machine.reset_cause() == machine.WDT_RESET)
machine.WDT(timeout=300)
import missing
"""
    result = twin(tmp_path, runtime, main).power_on(max_boots=2)
    assert result.reason == "boots" and "cause True" in result.console


@pytest.mark.parametrize("runtime", ON_BOTH)
def test_deep_sleep_wakes_the_same_image_before_otadata_is_read(tmp_path, runtime):
    main = """
import machine, esp32
if machine.reset_cause() == machine.DEEPSLEEP_RESET:
    print("woke in", esp32.Partition(1).info()[4], esp32.Partition(0).info()[4])
else:
    other = esp32.Partition("ota_1")
    own, block = esp32.Partition(1), bytearray(4096)
    for number in range(415):
        own.readblocks(number, block)
        other.writeblocks(number, block)
    other.set_boot()
    machine.deepsleep(1)
"""
    assert "woke in ota_0 ota_1" in twin(tmp_path, runtime, main).power_on().console


@pytest.mark.parametrize("runtime", ON_BOTH)
def test_writing_the_running_app_ends_the_program(tmp_path, runtime):
    main = "import esp32\nesp32.Partition(1).writeblocks(0, bytearray(4096))\nprint('never')\n"
    result = twin(tmp_path, runtime, main).power_on(max_boots=2)
    assert "panic: write to the running app" in result.console and "never" not in result.console


@pytest.mark.parametrize("runtime", ON_BOTH)
def test_failing_boot_py_keeps_main_from_running_as_micropython_does(tmp_path, runtime):
    result = twin(tmp_path, runtime, "print('main runs')", boot="raise ValueError('broken')").power_on()
    assert "broken" in result.console and "main runs" not in result.console


@pytest.mark.parametrize("runtime", ON_BOTH)
def test_world_of_any_size_reaches_the_program(tmp_path, runtime):
    firmwares = {f"{number:064x}": {"size_bytes": 16, "does": "hang"} for number in range(20)}
    result = twin(tmp_path, runtime, "print('main runs')", world={"firmware": firmwares}).power_on(max_boots=1)
    assert "main runs" in result.console


@pytest.mark.vm
def test_the_hosts_files_are_out_of_sight(tmp_path):
    result = twin(tmp_path, "vm", "import os\nprint(sorted(os.listdir('/')))").power_on()
    assert "['boot.py', 'main.py']" in result.console


# the command line


@pytest.mark.parametrize(
    "arguments",
    [
        "",
        "--serial A --server http://x",
        "--serial a/b --server http://x --flash F",
        "--serial A --server ftp://x --flash F",
        "--serial A --server http://x --flash F --boots 0",
        "--serial A --server http://x --flash F --runtime pypy",
        "--serial A --server http://x --flash /",
    ],
)
def test_wrong_arguments_give_one_line_and_status_2(tmp_path, arguments):
    arguments = [word.replace("F", str(tmp_path / "f.bin")) if word == "F" else word for word in arguments.split()]
    done = subprocess.run([sys.executable, "-m", "tools.twin", *arguments], capture_output=True, text=True)
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1, done.stderr


def test_another_boards_flash_file_is_not_touched(tmp_path):
    path = tmp_path / "flash.bin"
    make_factory_fresh(path, "THERM00000000000001", "http://127.0.0.1:1")
    before = path.read_bytes()
    command = [sys.executable, "-m", "tools.twin", "--serial", "THERM00000000000002"]
    done = subprocess.run([*command, "--server", "http://127.0.0.1:1", "--flash", path], capture_output=True, text=True)
    assert done.returncode == 2 and "THERM00000000000001" in done.stderr
    assert path.read_bytes() == before


def test_not_in_step_in_time_is_status_1(tmp_path):
    command = [sys.executable, "-m", "tools.twin", "--serial", "A", "--server", "http://127.0.0.1:1", "--timeout", "1"]
    done = subprocess.run([*command, "--flash", tmp_path / "f.bin"], capture_output=True, text=True)
    assert done.returncode == 1 and "not in step" in done.stderr

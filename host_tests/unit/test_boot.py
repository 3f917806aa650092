"""boot.py: whatever lies in the slots, a board comes to its agent, or goes back to the release before."""

import binascii
import os
import struct

import machine
from agent.errors import PermanentError
from esp32 import Partition
from ota.bundle_files import Bundle
from ota.slot import Slot

from host_tests.unit import boot
from host_tests.unit.expect import raises
from tools.proof import scratch
from tools.twin import hardware, otadata
from tools.twin.image import bundle_files, make_image
from tools.twin.small_chip import power_on

FILES = bundle_files(1)
FILES["/agent/loop.mpy"] = bytes(range(256)) * 40
FILES["/net/errors.txt"] = FILES["/agent/loop.mpy"]
FILES["/net/deep/x.pem"] = "\u00e4\n".encode()


def powered(image=None, proven=1, trial=False):
    """A chip with this image running from ota_0, and release 2 in ota_1; gives a folder for boot.py's files."""
    power_on(image=make_image(1, files=FILES) if image is None else image)
    hardware.flash.program(0x20000, make_image(2))
    if proven == 2:
        otadata.write_record(hardware.flash, 0xD000, 1, 0, otadata.VALID)
    if trial:
        otadata.write_record(hardware.flash, 0xD000, 0, 3, otadata.PENDING_VERIFY)
    return scratch.folder()


def started(root):
    """Run boot.py: its names, or None when it has reset the chip."""
    try:
        return boot.start(root)
    except hardware.PowerLoss:
        return None


def text(root, name):
    with open(root + name) as file:
        return file.read()


def test_release_is_mounted_and_every_file_of_it_is_there():
    bundle = started(powered())["mounted"]["/release"]
    for path, content in FILES.items():
        assert bundle.stat(path)[0] == 0x8000 and bundle.stat(path)[6] == len(content)
        if path[-4:] not in (".mpy", ".txt"):
            assert bundle.open(path, "rb").read() == content
    assert bundle.open("/net/deep/x.pem", "r").read() == "\u00e4\n"
    for folder in ("/agent", "/net", "/net/deep"):
        assert bundle.stat(folder)[0] == 0x4000, folder
    for path in ("/x", "/agent/loo", "/manifest.jso", "", "/"):
        for look in (lambda: bundle.stat(path), lambda: bundle.open(path, "r")):  # noqa: B023
            try:
                look()
            except OSError as error:
                assert error.args[0] == 2
                continue
            raise AssertionError(path)


def test_module_and_sentences_come_in_pieces_of_any_size():
    bundle = started(powered())["mounted"]["/release"]
    content = FILES["/agent/loop.mpy"]
    for size, name in (
        (1, "agent/loop.mpy"),
        (7, "net/errors.txt"),
        (128, "agent/loop.mpy"),
        (4096, "net/errors.txt"),
        (20000, "agent/loop.mpy"),
    ):
        file = bundle.open("/" + name, "rb")
        found = b""
        piece = bytearray(size)
        while True:
            count = file.readinto(piece)
            if not count:
                break
            found += piece[:count]
        assert found == content, size


def test_same_bytes_elsewhere_in_the_index_are_not_taken_for_a_path():
    key = binascii.crc32(b"/a.pem")
    other = struct.pack("<III", binascii.crc32(b"/b.pem"), key, 4)
    content = b"\xd2\xcd\x31\x80" + b"this"
    for index in (other + struct.pack("<III", key, 4, 4), struct.pack("<III", key, 4, 4) + other):
        powered(make_image(1, bundle=content + index + struct.pack("<I", 2)))
        bundle = started(scratch.folder())["mounted"]["/release"]
        assert bundle.open("/a.pem", "r").read() == "this"
        assert Bundle(Slot(Partition("ota_0"))).text("/a.pem") == "this"
    powered(make_image(1, bundle=content + other + struct.pack("<I", 1)))
    raises(PermanentError, "bad_bundle", Bundle(Slot(Partition("ota_0"))).size_bytes, "/a.pem")
    try:
        started(scratch.folder())["mounted"]["/release"].stat("/a.pem")
    except OSError:
        return
    raise AssertionError("found what is not there")


def test_board_without_a_bundle_still_gets_its_watchdog_and_its_deployed_agent():
    names = started(powered(make_image(1, bundle=bytes(64))))
    assert names["mounted"] == {} and names["watchdog"] is not None and not names["on_trial"]


def test_trial_leaves_its_trace_and_is_told_to_main_py():
    root = powered(trial=True)
    names = started(root)
    assert names["on_trial"] is True and text(root, "trial.txt") == "3"
    root = powered()
    assert started(root)["on_trial"] is False and os.listdir(root) == []


def test_release_that_never_becomes_healthy_is_left_after_its_sixth_start():
    root = powered(proven=2)
    for count in range(5):
        assert started(root), count
    assert os.listdir(root) == [] and started(root) is None
    assert text(root, "left.txt") == "ota_0"
    assert Partition(Partition.BOOT).info()[4] == "ota_1"
    assert machine.RTC().memory() == b"", "the other release would be left as well"


def test_healthy_release_is_never_left_however_often_it_starts():
    root = powered(proven=2)
    for _ in range(12):
        assert started(root)
        machine.RTC().memory(b"")  # as Board.note_health does
    assert os.listdir(root) == []


def test_release_stays_where_there_is_nothing_to_go_back_to():
    for how in ({"proven": 1}, {"proven": 2, "trial": True}):
        root = powered(**how)
        for _ in range(300):
            assert started(root)
        assert "left.txt" not in os.listdir(root), how


def test_release_stays_when_the_other_slot_is_not_whole():
    root = powered(proven=2)
    hardware.flash.program(0x20000 + 5000, bytes(64))
    for _ in range(8):
        assert started(root)
    assert Partition(Partition.BOOT).info()[4] == "ota_0"


def test_proven_release_without_a_bundle_is_left_at_once():
    root = powered(make_image(1, bundle=bytes(64)), proven=2)
    assert started(root) is None and text(root, "left.txt") == "ota_0"
    assert Partition(Partition.BOOT).info()[4] == "ota_1"


def test_flash_or_files_that_fail_never_keep_main_py_from_running():
    root = powered(trial=True)
    names = started(root + "gone/")  # the trace cannot be written
    assert names["on_trial"] and names["watchdog"] is not None and "/release" in names["mounted"]
    assert machine.RTC().memory() == b"\x01", "what follows a step that fails is left out"

    def fail(address, view):
        raise OSError(5)

    hardware.flash.read_into = fail
    assert started(root)["mounted"] == {}


def test_nothing_of_boot_py_but_the_bundle_stays_in_memory():
    names = started(powered())
    for name in ("Start", "start", "step", "leave"):
        assert names[name] is None, name

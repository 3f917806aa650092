"""A release: nothing unchecked can ever boot, and only a release of ours that an agent can run from is taken."""

import binascii
import gc
import os
import struct

from agent.errors import PermanentError, RetryableError

from host_tests.fakes.firmware import Api, RangeServer
from host_tests.unit.expect import raises
from host_tests.unit.test_update import NEW, SLOT_BYTES, V1, V2, V3, Bench, Vendor, raw, read, rehash
from tools.proof.reply import Reply, as_string
from tools.twin import hardware, otadata
from tools.twin.image import bundle_files, make_bundle, make_image, problem
from tools.twin.small_chip import reboot_into, roll_back

FREE = 0x20000
OF_UNKNOWN_LENGTH = {"length": False, "bounded": False}
KEY = "0" * 64


def is_loadable():
    """True when the boot loader would start what is in the free slot."""
    return problem(hardware.flash, FREE, SLOT_BYTES) is None


def write_that_made_it_loadable(board, source):
    """Have the board install from the source; the operation after which the free slot could boot, in a list."""
    board.start()
    seen = []
    last = []

    def look(number, kind, address, size):
        if last and not seen and is_loadable():
            seen.append(last[0])
        last[:] = [(kind, address, size)]

    hardware.flash.on_operation = look
    try:
        board.bring(source)
    finally:
        hardware.flash.on_operation = None
    return seen


# Nothing unchecked can boot


def test_image_is_loadable_only_with_the_last_write_to_its_slot():
    image = make_image(2, size_bytes=30000)
    for source in (
        raw(image),
        raw(image, **OF_UNKNOWN_LENGTH),
        Api(lambda: Reply(as_string(image))),
        RangeServer(image),
    ):
        board = Bench()
        seen = write_that_made_it_loadable(board, source)
        assert seen == [("program", FREE, 32)], seen
        assert read(board.slot(), len(image)) == image


def test_image_whose_download_was_cut_is_loadable_only_with_the_last_write_as_well():
    image = make_image(2, size_bytes=40000)
    for cut in (300, 5000, 20000, len(image) - 1):
        board = Bench()
        server = RangeServer(image, cut=cut)
        raises(RetryableError, "body_cut", board.install, server)
        assert not is_loadable() and read(board.slot(), 32) == b"\xff" * 32
        seen = write_that_made_it_loadable(board, server)
        assert seen == [("program", FREE, 32)], seen
        assert read(board.slot(), len(image)) == image


def test_download_that_ends_whole_but_unchecked_is_not_loadable():
    # The power fails between the last byte of the body and the first byte of the image.
    image = make_image(2, size_bytes=20000)
    board = Bench()
    board.start()

    def cut(number, kind, address, size):
        if (address, size) == (FREE, 32):
            raise hardware.PowerLoss

    hardware.flash.on_operation = cut
    try:
        board.bring(RangeServer(image))
        raise AssertionError("no cut")
    except hardware.PowerLoss:
        hardware.flash.on_operation = None
    assert not is_loadable() and read(board.slot(), len(image))[32:] == image[32:]
    server = RangeServer(image)
    board.install(server)
    assert server.starts[0] > 0 and is_loadable(), server.starts


def test_refused_release_is_never_loadable():
    flipped = NEW[:5000] + bytes((NEW[5000] ^ 1,)) + NEW[5001:]
    for code, image in (
        ("wrong_hash", flipped),
        ("no_bundle", make_image(2, bundle=bytes(64))),
        ("bad_manifest", make_image(2, files=bundle_files(3))),
    ):
        board = Bench()
        board.start()
        loadable = []
        hardware.flash.on_operation = lambda *operation: loadable.append(is_loadable())  # noqa: B023
        try:
            raises((RetryableError, PermanentError), code, board.bring, raw(image))
        finally:
            hardware.flash.on_operation = None
        assert len(loadable) > 3 and not any(loadable) and not is_loadable(), code
        assert board.slots.chosen().label == "ota_0", code


def test_unsigned_release_is_never_loadable_once_keys_are_trusted():
    size = 8000 + -len(make_image(2, size_bytes=8000)) % 4096
    image = make_image(2, size_bytes=size) + b"\xff" * 4096
    for how in ({}, OF_UNKNOWN_LENGTH):
        board = Bench()
        board.start().device.settings.signing_keys = [KEY]
        raises(PermanentError, "no_signature", board.bring, raw(image, **how))
        assert not is_loadable() and read(board.slot(), 4096)[32:] == image[32:4096]
        assert board.slots.chosen().label == "ota_0" and board.start().has_given_up(V2)


# The header: only a release of this product, not below the floor, on a MicroPython that the agent can live on


def refused_before_the_first_erase(code, image, **record):
    """This image must be refused by its header."""
    board = Bench()
    board.device.record.save(**record)
    board.start()
    operations = hardware.flash.operations
    sentence = raises(PermanentError, code, board.bring, raw(image))
    assert hardware.flash.operations == operations, code
    assert board.start().has_given_up(V2) and board.installed() == V1
    return sentence


def test_image_that_is_no_release_is_refused_before_the_first_erase():
    for number in ("v1", "", "-1", "1.27.0", "2\xe4"):
        refused_before_the_first_erase("no_release", make_image(2, release=number, files={}))


def test_release_of_another_product_is_refused_before_the_first_erase():
    for product in ("Relay", "", "thermometer", "Thermometer2"):
        refused_before_the_first_erase("other_product", make_image(2, product=product))


def test_release_below_the_floor_is_refused_before_the_first_erase_and_one_at_it_is_taken():
    assert "3" in refused_before_the_first_erase("below_floor", make_image(2), floor=3)
    board = Bench()
    board.start().device.settings.floor = 3  # the running release's own manifest says so
    raises(PermanentError, "below_floor", board.bring, raw())
    board = Bench()
    board.device.record.save(floor=2)
    board.install(raw())


def test_floor_of_a_release_counts_once_it_has_proven_itself():
    board = Bench()
    board.install(raw(make_image(5)))
    board.try_out()
    board.start().device.settings.floor = 5
    assert "floor" not in board.saved() or board.saved()["floor"] == 0
    board.prove()
    assert board.saved()["floor"] == 5
    raises(PermanentError, "below_floor", board.install, raw(make_image(4)), V3)
    board.install(raw(make_image(5, size_bytes=8000)), V3 + "a")


def test_floor_does_not_sink_with_a_release_that_names_a_lower_one():
    board = Bench()
    board.device.record.save(floor=2)
    board.install(raw())
    board.try_out()
    board.start().device.settings.floor = 1
    board.prove()
    assert board.saved()["floor"] == 2


def test_release_on_a_micropython_without_rollback_is_refused_before_the_first_erase():
    for version in ("1.23.0", "0.99.1", "1", "", "x.y", "1.x", "-1.30"):
        refused_before_the_first_erase("old_micropython", make_image(2, micropython=version))
    for version in ("1.24.0", "1.27.0-preview.5", "2.0.0", "10.1"):
        Bench().install(raw(make_image(2, micropython=version)))


# The bundle and its manifest


def with_manifest(content, **more):
    files = bundle_files(2)
    files["/manifest.json"] = content if isinstance(content, bytes) else content.encode()
    files.update(more)
    return make_image(2, files=files)


def without(path):
    files = bundle_files(2)
    del files[path]
    return make_image(2, files=files)


def with_entry(path, start, size):
    """An image whose index says this of the file."""
    files = bundle_files(2)
    whole = make_bundle(files)
    key = struct.pack("<I", binascii.crc32(path.encode()))
    at = whole.rfind(key)
    return make_image(2, bundle=whole[:at] + key + struct.pack("<II", start, size) + whole[at + 12 :])


def with_settings(**settings):
    return make_image(2, files=bundle_files(2, settings=settings))


def bad_bundles():
    """Yield images whose bundle no agent could run from, one at a time, and the error's code."""
    whole = make_bundle(bundle_files(2))
    yield "no_bundle", make_image(2, bundle=b"")
    yield "no_bundle", make_image(2, bundle=bytes(400))
    yield "no_bundle", make_image(2, bundle=b"\xd2\xcd\x30" + bytes(97))
    yield "bad_bundle", make_image(2, bundle=b"\xd2\xcd\x31\x80")
    yield "bad_bundle", make_image(2, bundle=whole[: len(whole) // 8 * 4])
    yield "bad_bundle", make_image(2, bundle=whole[:-4] + struct.pack("<I", 0xFFFFFFFF))
    yield "bad_bundle", make_image(2, bundle=whole[:-4] + struct.pack("<I", 300))
    yield "bad_bundle", make_image(2, bundle=whole[:-4] + bytes(4))
    yield "bad_bundle", make_image(2, files={})
    yield "bad_bundle", without("/main.py")
    yield "bad_bundle", without("/agent/loop.py")
    yield "bad_bundle", without("/board/__init__.py")
    yield "bad_bundle", without("/thermometer.py")
    yield "bad_bundle", make_image(2, files=bundle_files(2, app="relay"))
    yield "bad_bundle", without("/manifest.json")
    yield "bad_bundle", with_entry("/manifest.json", 4, 1 << 20)
    yield "bad_bundle", with_entry("/manifest.json", 0xFFFFFFF0, 100)
    yield "bad_bundle", with_entry("/main.py", 4, 1 << 20)
    yield "bad_bundle", with_entry("/agent/loop.py", 1 << 24, 4)


def bad_manifests():
    """Yield images whose manifest is none, or would set what cannot be, one at a time."""
    yield with_manifest(b" " * 3000 + bundle_files(2)["/manifest.json"])
    yield with_manifest(b"\xff\xfe")
    yield with_manifest("")
    yield with_manifest("[]")
    yield with_manifest('{"product": "Thermometer"')
    yield with_manifest('{"product": "Thermometer"}')
    yield with_manifest("[" * 1500)
    yield make_image(2, files=bundle_files("2"))
    yield make_image(2, files=bundle_files(True))
    yield make_image(2, files=bundle_files(2, product="Relay"))
    yield make_image(2, files=bundle_files(3))
    yield make_image(2, files=bundle_files(2, floor=3))
    yield make_image(2, files=bundle_files(2, floor=-1))
    yield make_image(2, files=bundle_files(2, floor="2"))
    yield make_image(2, files=bundle_files(2, app=None))
    yield make_image(2, files=bundle_files(2, settings=[]))
    yield with_settings(signing_keys=["no key"])
    yield with_settings(signing_keys=[KEY] * 4)
    yield with_settings(signing_keys=KEY)
    yield with_settings(signing_keys=[5])
    yield with_settings(server=5)
    yield with_settings(ca=None)
    yield with_settings(check_interval_s=0)
    yield with_settings(report_interval_s=1 << 31)
    yield with_settings(wifi=[])
    yield with_settings(product="Relay")
    yield with_settings(device_secret="x")
    yield with_settings(unknown=1)


def never_armed(code, image):
    """The image must be given up by its check from flash, and must not be loadable."""
    gc.collect()
    board = Bench()
    raises(PermanentError, code, board.install, raw(image))
    assert not is_loadable() and board.slots.chosen().label == "ota_0", code
    assert board.start().has_given_up(V2) and board.installed() == V1
    del board, image
    hardware.flash = None


def test_release_that_no_agent_could_run_from_is_never_armed():
    for code, image in bad_bundles():
        never_armed(code, image)


def test_release_whose_manifest_cannot_be_is_never_armed():
    for image in bad_manifests():
        never_armed("bad_manifest", image)


def test_release_may_bring_keys_server_and_intervals():
    board = Bench()
    board.install(raw(with_settings(signing_keys=[KEY], server="https://new", ca="/ca.pem", check_interval_s=60)))
    assert board.slots.chosen().label == "ota_1"


def test_module_may_be_compiled_or_source():
    files = bundle_files(2)
    for path in ("/main", "/agent/loop", "/board/__init__"):
        files[path + ".mpy"] = files.pop(path + ".py")
    Bench().install(raw(make_image(2, files=files)))


def test_bundle_in_a_segment_that_is_loaded_is_none():
    # The segment for load address 0 is what no boot loader loads; the same bytes elsewhere are data.
    at = NEW.index(b"\xd2\xcd\x31\x80") - 8
    assert NEW[at : at + 4] == bytes(4)
    board = Bench()
    moved = rehash((NEW[:at] + struct.pack("<I", 0x3F500000) + NEW[at + 4 :])[:-32])
    raises(PermanentError, "no_bundle", board.install, raw(moved))


# What boot.py leaves


def test_release_whose_trial_never_came_to_boot_py_is_given_up_at_once():
    board = Bench()
    source = raw()
    board.install(source)
    reboot_into("ota_1")
    roll_back()
    board.start()
    assert board.has_given_up(V2) and "update" not in board.saved()
    assert board.saved()["verdict"] == {
        "phase": "given up",
        "versionId": V2,
        "attempt": 1,
        "code": "never_started",
    }
    assert board.slots.chosen().label == "ota_0" and source.asked == 1


def test_trace_of_another_trial_proves_nothing():
    board = Bench()
    for trace in ("", "1", "\xff", "22", "2\n2"):
        board = Bench()
        board.install(raw())
        reboot_into("ota_1")
        roll_back()
        with open(board.root + "trial.txt", "w") as file:
            file.write(trace)
        assert board.start().has_given_up(V2), trace


def test_trial_that_came_to_boot_py_gets_its_three_tries():
    board = Bench()
    board.install(raw())
    board.try_out()
    roll_back()
    assert not board.start().has_given_up(V2) and board.saved()["update"]["phase"] == "rolled back"


def left_board():
    """A board whose boot.py has gone back from version 2, in ota_1, to version 1, which is on trial again."""
    board = Bench()
    board.install(raw())
    board.try_out()
    board.start().prove()
    with open(board.root + "left.txt", "w") as file:
        file.write("ota_1")
    board.slot("ota_0").set_boot()
    sequence, state, _ = otadata.read_records(hardware.flash, 0xD000)[0]
    assert state == otadata.NEW
    otadata.write_record(hardware.flash, 0xD000, 0, sequence, otadata.PENDING_VERIFY)
    hardware.running = "ota_0"
    return board


def test_release_that_was_left_is_quarantined_and_the_one_before_claimed():
    board = left_board()
    board.start()
    assert board.on_trial
    board.prove()
    saved = board.saved()
    assert (saved["versionId"], saved["slot"], saved["confirmed"]) == (V1, "ota_0", False)
    assert saved["quarantined"] == V2 and board.installed() == V1
    assert saved["verdict"] == {"phase": "left", "versionId": V2, "attempt": 0, "code": "keeps_crashing"}
    assert "left.txt" not in os.listdir(board.root)
    assert "previousId" not in saved and "previousImage" not in saved


def test_release_before_is_in_step_at_once_when_it_is_the_target_again():
    board = left_board()
    board.start()
    vendor = Vendor(V1)
    vendor.round(board)
    assert "firmware.json" not in vendor.asked and board.saved()["confirmed"], vendor.asked
    board = left_board()
    board.start()
    vendor = Vendor(V2)
    vendor.round(board)
    assert "firmware.json" not in vendor.asked and board.saved()["versionId"] == V1, vendor.asked
    assert any("has failed here" in line for line in board.device.console.lines)


def test_release_that_was_left_for_an_image_nobody_knows_is_quarantined_and_nothing_claimed():
    board = left_board()
    board.device.record.save(previous_image="f" * 32)
    board.start().prove()
    assert board.has_given_up(V2) and board.installed() is None


def test_trace_of_a_release_that_was_not_left_after_all_is_removed_and_means_nothing():
    # boot.py has left its trace, and the other slot was not whole, or the power failed; or the trace is an old one.
    for trace in ("ota_1", "ota_0", "x"):
        board = Bench()
        board.install(raw())
        board.try_out()
        board.start().prove()
        with open(board.root + "left.txt", "w") as file:
            file.write(trace)
        board.start()
        assert board.installed() == V2 and not board.has_given_up(V2), trace
        assert "left.txt" not in os.listdir(board.root)

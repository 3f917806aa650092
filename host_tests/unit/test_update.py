"""The update as a transaction: what is on flash decides, whatever was interrupted before."""

import hashlib
import json
import struct
import sys

from agent.errors import AgentError, PermanentError, RetryableError
from agent.record import Version
from agent.record_reader import read_record
from agent.runner import run
from gadgetkeeper import things
from ota import arming
from ota.plan import plan
from ota.reconcile import installed_id, reconcile
from ota.slots import Slots, arm
from ota.trial import prove

from host_tests.fakes.device import FakeBoard, fake_device
from host_tests.fakes.firmware import Api, RangeServer
from host_tests.unit.expect import raises
from tools.proof import in_process, scratch
from tools.proof.reply import Reply, as_string, json_reply
from tools.twin import hardware, otadata
from tools.twin.image import make_image
from tools.twin.small_chip import SLOT_BYTES, power_on, reboot_into, roll_back

V1, V2, V3 = "1" * 32, "2" * 32, "3" * 32
NEW = make_image(2)


class Bench:
    """A device with version 1 installed; `start` is what each power-on begins with."""

    def __init__(self, image=None):
        self.Partition = power_on(image=image)
        self.root = scratch.folder()
        self.start()
        running = self.running
        self.device.record.save(version_id=V1, slot=running.slot, image=running.image, confirmed=True)

    def start(self):
        with open(self.root + "serial.txt", "w") as file:
            file.write("THERM00000000000001")
        self.slots = Slots(self.Partition)
        self.board = FakeBoard(self.Partition, self.slots.on_trial())
        self.device = fake_device(self.board, self.root)
        self.device.record = read_record(self.root)
        self.running = reconcile(self.device)
        self.on_trial = self.running.on_trial
        return self

    def try_out(self):
        """Reboot into the armed release; boot.py leaves its trace of the trial."""
        reboot_into("ota_1")
        self.trace()

    def trace(self):
        """Leave what boot.py leaves in a trial."""
        with open(self.root + "trial.txt", "w") as file:
            file.write(str(self.slots.newest(self.slots.named("ota_1")).sequence))

    def installed(self):
        return installed_id(self.device, self.running)

    def prove(self):
        prove(self.device, self.running)

    def has_given_up(self, version):
        return self.device.record.quarantined == version

    def install(self, source, version=V2):
        """One round, from the start to the armed slot; gives what the console was told."""
        self.start()
        return self.bring(source, version)

    def bring(self, source, version=V2):
        """The round's rest, which ends with a reset."""
        name = "source_of_firmware"
        if hasattr(source, "request"):
            in_process.serve(source.request)
            name = "gadgetkeeper.firmware"
            self.device.settings.server = "http://server"
        else:
            sys.modules[name] = source
        before = len(self.device.console.lines)
        try:
            run("ota.install", "install", self.device, Version(version, "x"), name)
        except hardware.PowerLoss:
            if not self.board.resets:
                raise
        else:
            raise AssertionError("no reset")
        finally:
            if name == "gadgetkeeper.firmware":
                in_process.stop()
        lines = self.device.console.lines[before:]
        return [line[17:] for line in lines if "signature" not in line and "checked" not in line]

    def saved(self):
        """The record as it lies on flash."""
        with open(self.root + "state.json") as file:
            return json.load(file)

    def write(self, **members):
        """Change the record as it lies on flash."""
        state = self.saved()
        state.update(members)
        with open(self.root + "state.json", "w") as file:
            json.dump(state, file)

    def slot(self, label="ota_1"):
        return self.Partition(label)

    def state(self, label="ota_1"):
        """What otadata says of the slot."""
        return self.slots.state(self.slots.named(label))


def raw(image=NEW, **how):
    return Api(lambda: Reply(image, kind="application/octet-stream", **how))


def by_cable(address, image):
    """Flash this image by cable."""
    for at in range(0, len(image), 4096):
        hardware.flash.erase(address + at)
        hardware.flash.program(address + at, image[at : at + 4096])


def read(slot, size):
    data = bytearray(size)
    slot.readblocks(0, data, 0)
    return bytes(data)


def rehash(body):
    return body + hashlib.sha256(body).digest()


def segment_2(image, length):
    """The image with another length in its second segment's header."""
    at = 24 + 8 + 256 + 4
    return rehash(image[:at] + struct.pack("<I", length) + image[at + 4 : -32])


def test_every_form_reaches_the_free_slot_and_arms_it():
    for make in (
        lambda: Reply(NEW, kind="application/octet-stream"),
        lambda: Reply(as_string(NEW)),
        lambda: Reply(b'{"name": "2", "firmware": ' + as_string(NEW) + b"}"),
        lambda: Reply(NEW, kind="application/octet-stream", length=False, bounded=False),
    ):
        board = Bench()
        board.install(Api(make))
        assert read(board.slot(), len(NEW)) == NEW
        assert board.slots.chosen().label == "ota_1"
        assert not {"head", "etag", "size"} & set(board.saved()["update"]), "what is armed is no download any more"
        assert board.state() == otadata.NEW
        assert board.saved()["versionId"] == V1


def test_no_sector_is_erased_twice_and_none_beyond_the_image():
    board = Bench()
    erased = []
    update = board.start()
    hardware.flash.on_operation = lambda number, kind, address, size: (
        erased.append(address) if kind == "erase" else None
    )
    update.bring(raw())
    slot = [address for address in erased if address >= 0x20000]
    assert slot == [0x20000 + 4096 * block for block in range((len(NEW) + 4095) // 4096)], slot


def test_write_ahead_record_is_on_flash_before_the_first_erase():
    board = Bench()
    update = board.start()
    seen = []

    def watch(number, kind, address, size):
        if address >= 0x20000 and not seen:
            seen.append(board.saved()["update"])

    hardware.flash.on_operation = watch
    update.bring(raw())
    assert seen[0]["versionId"] == V2 and seen[0]["phase"] == "download", seen


def test_stored_id_changes_only_after_the_trial():
    board = Bench()
    board.install(raw())
    board.try_out()
    update = board.start()
    assert update.on_trial and update.installed() == V2
    assert board.saved()["versionId"] == V1
    update.prove()
    state = board.saved()
    assert state["versionId"] == V2 and state["slot"] == "ota_1" and "update" not in state and not state["confirmed"]
    assert otadata.read_records(hardware.flash, 0xD000)[1][1] == otadata.VALID


def test_cut_between_mark_and_record_is_settled_from_flash():
    board = Bench()
    board.install(raw())
    board.try_out()
    board.start()
    board.slots.mark_valid()
    assert board.start().installed() == V2
    assert board.saved()["versionId"] == V2


def test_trial_without_a_record_never_borrows_the_servers_old_version():
    board = Bench()
    board.install(raw())
    board.try_out()
    board.root = scratch.folder()
    update = board.start()
    update.prove()
    assert update.installed() is None and update.device.record.image
    assert board.start().device.record.image


def test_on_trial_the_other_slot_is_not_written():
    board = Bench()
    board.install(raw())
    board.try_out()
    before = read(board.slot("ota_0"), SLOT_BYTES)
    try:
        board.install(raw(make_image(3)), V3)
    except RuntimeError:
        assert read(board.slot("ota_0"), SLOT_BYTES) == before, "the way back was overwritten"
        return
    raise AssertionError("nobody has said that it cannot be done")


def test_rolled_back_firmware_is_tried_again_without_a_download_then_given_up():
    board = Bench()
    api = raw()
    for attempt in range(3):
        update = board.start()
        assert update.installed() == V1 and not update.has_given_up(V2), attempt
        update.bring(api)
        board.try_out()
        assert board.start().on_trial
        roll_back()
    assert api.asked == 1
    update = board.start()
    assert update.has_given_up(V2) and board.start().has_given_up(V2)
    assert not board.start().has_given_up(V3)


def test_slot_damaged_after_rollback_is_downloaded_again():
    board = Bench()
    api = raw()
    board.install(api)
    board.try_out()
    roll_back()
    board.slot().writeblocks(1, bytes(4096))
    raises(RetryableError, "wrong_hash", board.install, api)
    board.install(api)
    assert api.asked == 2 and read(board.slot(), len(NEW)) == NEW


def test_another_target_starts_with_a_clean_record():
    board = Bench()
    board.install(raw())
    board.try_out()
    roll_back()
    other = make_image(3)
    board.install(raw(other), V3)
    assert read(board.slot(), len(other)) == other
    assert board.saved()["update"]["versionId"] == V3
    assert board.saved()["update"]["attempts"] == 1


def test_bad_images_erase_nothing_and_are_given_up():
    for code, image in (
        ("not_an_image", b"<html>"),
        ("not_an_image", b"\x7f" + NEW[1:]),
        ("bad_segments", make_image(2, segments=0)),
        ("bad_segments", make_image(2, segments=17)),
        ("wrong_chip", make_image(2, chip_id=9)),
        ("not_an_app", make_image(2, magic=0)),
        ("no_hash", make_image(2, hashed=0)),
        ("newer_chip", make_image(2, revision=302)),
        ("image_too_big", NEW[:28] + b"\xfc\xff\xff\xff" + NEW[32:]),
        ("image_too_big", make_image(2, size_bytes=SLOT_BYTES)),
    ):
        board = Bench()
        update = board.start()
        operations = hardware.flash.operations
        raises(PermanentError, code, update.bring, raw(image))
        assert hardware.flash.operations == operations, code
        assert board.start().has_given_up(V2), code
        assert board.start().installed() == V1


def test_body_cut_in_its_head_is_no_verdict_on_the_firmware():
    # Without a length, only the content tells that the connection has broken off.
    for size in (0, 1, 100, 287):
        board = Bench()
        update = board.start()
        raises(RetryableError, "truncated", update.bring, raw(NEW[:size], length=False, bounded=False))
        assert hardware.flash.read(0x20000, 4096) == b"\xff" * 4096
        assert not board.start().has_given_up(V2)
        board.install(raw())


def test_record_of_another_slot_never_lends_its_version_to_the_image_found_there():
    # Version 3 was armed in ota_0; then the board was flashed by cable. Version 2 is still in ota_1.
    board = Bench()
    board.install(raw(make_image(3)), V3)
    board.try_out()
    roll_back()
    board.start()
    state = board.saved()
    board.write(update=dict(state["update"], slot="ota_0"))
    by_cable(0x20000, NEW)
    api = raw(make_image(3))
    raises(RetryableError, "wrong_hash", board.install, api, V3)
    assert board.slots.chosen().label == "ota_0"
    board.install(api, V3)
    assert read(board.slot(), len(NEW)) == make_image(3)


def test_record_of_another_partition_table_does_not_stop_the_agent():
    for update in (
        {"versionId": V2, "slot": "app9", "attempts": 0, "phase": "armed", "image": "a"},
        {
            "versionId": V2,
            "slot": "app9",
            "attempts": 0,
            "phase": "download",
            "head": "f" * 128,
            "etag": '"e"',
            "size": 9,
        },
        {"versionId": V2, "slot": "vfs", "attempts": 0, "phase": "rolled back", "image": "a"},
    ):
        board = Bench()
        board.write(update=update)
        for _ in range(2):
            try:
                board.install(raw())
                break
            except RetryableError:
                pass
        assert read(board.slot(), len(NEW)) == NEW, update


def test_record_of_a_larger_firmware_than_the_slot_holds_does_not_stop_the_agent():
    board = Bench()
    board.slot().writeblocks(0, bytes(SLOT_BYTES))
    image = board.start().running.image
    board.slot().writeblocks(0, make_image(1)[:4096])
    update = {"versionId": V2, "slot": "ota_1", "attempts": 0, "phase": "download"}
    board.write(update=dict(update, head="f" * 64, image=image, etag='"e"', size=10**8))
    board.install(raw())
    assert read(board.slot(), len(NEW)) == NEW


def test_image_too_big_without_a_length_stops_at_the_slots_end():
    board = Bench()
    api = raw(make_image(2, size_bytes=SLOT_BYTES), length=False, bounded=False)
    raises(PermanentError, "image_too_big", board.install, api)
    assert board.slots.chosen().label == "ota_0"


def test_damaged_images_are_never_armed_and_given_up_after_three_downloads():
    flipped = NEW[:5000] + bytes([NEW[5000] ^ 1]) + NEW[5001:]
    for code, image in (
        ("wrong_hash", flipped),
        ("truncated", NEW[:8000]),
        ("wrong_length", NEW + bytes(16)),
        ("truncated", NEW[:-1]),
        ("bad_segment", segment_2(NEW, 8998)),
        ("truncated", segment_2(NEW, 0x7FFFFFFC)),
    ):
        board = Bench()
        for attempt in (1, 2, 3):
            assert not board.start().has_given_up(V2)
            raises(RetryableError, code, board.install, raw(image))
            assert board.slots.chosen().label == "ota_0", code
            verdict = board.saved()["verdict"]
            assert verdict == {"phase": "download", "versionId": V2, "attempt": attempt, "code": code}, verdict
        assert board.start().has_given_up(V2)
        verdict = board.saved()["verdict"]
        assert verdict == {"phase": "given up", "versionId": V2, "attempt": 3, "code": code}, verdict


def test_wrong_checksum_under_a_fitting_hash_is_refused_by_the_chip():
    board = Bench()
    raises(PermanentError, "refused_by_chip", board.install, raw(rehash(NEW[:-33] + bytes([NEW[-33] ^ 1]))))
    assert board.slots.chosen().label == "ota_0" and board.start().has_given_up(V2)
    assert board.saved()["verdict"]["attempt"] == 1, "it was counted when it was armed, and again"


def test_cut_body_keeps_the_running_version_and_may_be_tried_again():
    board = Bench()
    reply = Reply(as_string(NEW)[:7000], length=False)
    raises(RetryableError, "firmware_cut", board.install, Api(lambda: reply))
    assert reply.closed
    update = board.start()
    assert update.installed() == V1 and not update.has_given_up(V2)
    update.bring(raw())
    assert read(board.slot(), len(NEW)) == NEW


def test_firmware_flashed_by_cable_is_not_claimed_to_be_the_stored_version():
    board = Bench()
    by_cable(0x10000, make_image(9))
    update = board.start()
    assert update.installed() is None and update.device.record.image


def test_boot_loader_fallback_does_not_let_an_unchecked_image_boot_as_proven():
    board = Bench()
    board.install(raw())
    board.try_out()
    board.start().prove()
    hardware.running = "ota_0"  # ota_1 could not be loaded; otadata still says ota_1, VALID
    seen = []

    def watch(number, kind, address, size):
        if address >= 0x20000 and not seen:
            seen.append(board.slots.chosen().label)

    update = board.start()
    hardware.flash.on_operation = watch
    update.bring(raw(make_image(3)), V3)
    assert seen == ["ota_0"], seen
    assert board.state() == otadata.NEW


def test_mark_after_set_boot_does_not_bless_what_never_ran():
    board = Bench()
    board.install(raw())
    raises(AgentError, "not_marked", board.slots.mark_valid)
    assert board.state() == otadata.NEW


def test_mark_after_a_fall_back_does_not_bless_the_slot_that_cannot_be_loaded():
    board = Bench()
    board.install(raw())
    board.try_out()
    hardware.running = "ota_0"  # ota_1 could not be loaded; otadata still says ota_1, PENDING_VERIFY
    raises(AgentError, "not_marked", board.start().slots.mark_valid)
    assert otadata.read_records(hardware.flash, 0xD000)[1][1] == otadata.PENDING_VERIFY


def test_half_overwritten_slot_is_not_trusted_for_its_valid_record():
    board = Bench()
    board.install(raw())
    board.try_out()
    board.start().prove()
    reply = Reply(as_string(make_image(3, size_bytes=40000))[:30000], length=False)
    watched = []
    hardware.flash.on_operation = lambda number, kind, address, size: watched.append(address)
    try:
        raises(RetryableError, "firmware_cut", board.install, Api(lambda: reply), V3)
    finally:
        hardware.flash.on_operation = None
    assert 0x10000 in watched and board.state("ota_0") == otadata.VALID
    for _ in range(2):
        board.start()
        assert board.slots.chosen().label == "ota_1" and board.installed() == V2
        assert not board.slots.failed("ota_0") and board.saved()["versionId"] == V2
    update = plan(board.device, Version(V3, "x"))
    raises(AgentError, "bad_segment", arming.check_and_arm, update, None)
    assert board.slots.chosen().label == "ota_1"


def test_arming_twice_leaves_the_running_record():
    board = Bench()
    board.install(raw())
    before = otadata.read_records(hardware.flash, 0xD000)
    arm(board.Partition, board.slots.named("ota_1"))
    assert otadata.read_records(hardware.flash, 0xD000) == before


def test_board_without_ota_slots_says_so():
    partition = power_on()
    address = 0x8000 + 64  # the table's third entry: ota_1
    hardware.flash.program(address, bytes(32))
    raises(AgentError, "no_slots", Slots, partition)


def test_slot_has_failed_when_it_was_tried_and_is_not_valid():
    board = Bench()
    for state, has_failed in (
        (otadata.NEW, False),
        (otadata.PENDING_VERIFY, True),
        (otadata.VALID, False),
        (otadata.INVALID, True),
        (otadata.ABORTED, True),
        (otadata.UNDEFINED, False),
    ):
        otadata.write_record(hardware.flash, 0xD000, 1, 2, state)
        assert board.slots.failed("ota_1") is has_failed, state


def test_slot_that_runs_is_never_the_free_one():
    class Alone(power_on()):
        def get_next_update(self):
            return self

    raises(PermanentError, "no_slots", Slots(Alone).free)


def test_same_image_under_another_version_is_an_update_all_the_same():
    image = make_image(1)
    board = Bench(image)
    board.install(raw(image))
    update = board.start()
    assert update.installed() == V1
    board.try_out()
    update = board.start()
    assert update.installed() == V2
    update.prove()
    assert board.start().installed() == V2


def test_mark_that_does_not_stick_ends_no_trial():
    board = Bench()
    board.install(raw())
    board.try_out()
    update = board.start()
    mark = board.Partition.mark_app_valid_cancel_rollback
    board.Partition.mark_app_valid_cancel_rollback = lambda: None
    try:
        raises(RetryableError, "not_marked", update.prove)
    finally:
        board.Partition.mark_app_valid_cancel_rollback = mark
    assert board.saved()["versionId"] == V1


def test_attempt_is_on_flash_before_the_boot_loader_is_told():
    board = Bench()
    update = board.start()
    seen = []

    def watch(number, kind, address, size):
        if 0xD000 <= address < 0xF000 and not seen:
            seen.append(board.saved()["update"])

    hardware.flash.on_operation = watch
    update.bring(raw())
    assert seen[0]["phase"] == "armed" and seen[0]["attempts"] == 1, seen


def test_downgrade_below_the_running_secure_version_is_refused():
    board = Bench(make_image(1, secure=5))
    update = board.start()
    operations = hardware.flash.operations
    raises(PermanentError, "older_secure_version", update.bring, raw(make_image(2, secure=4)))
    assert hardware.flash.operations == operations
    board = Bench(make_image(1, secure=5))
    board.install(raw(make_image(2, secure=5)))


def erase_starts(function, *args):
    """The addresses in the free slot that the call erases."""
    starts = []

    def watch(number, kind, address, size):
        if kind == "erase" and address >= 0x20000:
            starts.append(address - 0x20000)

    hardware.flash.on_operation = watch
    function(*args)
    hardware.flash.on_operation = None
    return starts


def test_interrupted_download_goes_on_at_the_last_sector_begun():
    image = make_image(2, size_bytes=40000)
    for cut in (4096, 5000, 20000, 39999):
        board = Bench()
        api = RangeServer(image, cut=cut)
        raises(RetryableError, "body_cut", board.install, api)
        notes = board.install(api)
        begun = (cut // 2048 + 1) // 2  # sectors; of each, half or all is written, and of what has come since nothing
        assert api.starts == [0, (begun - 1) * 4096], (cut, api.starts)
        assert not api.starts[1] or notes == [f"goes on at byte {api.starts[1]}"], notes
        assert read(board.slot(), len(image)) == image
        assert board.slots.chosen().label == "ota_1"


def test_interrupted_download_goes_on_whatever_server_made_the_strong_etag():
    image = make_image(2, size_bytes=40000)
    for etag in ('"5f3c1a2b-9c40"', '"0a1b2c3d4e5f:0"', '"d41d8cd98f00b204e9800998ecf8427e-3"', '"CJ6f+/Pq/4kDEAE="'):
        board = Bench()
        api = RangeServer(image, etag=etag, cut=20000)
        raises(RetryableError, "body_cut", board.install, api)
        board.install(api)
        assert api.starts[1] > 0 and read(board.slot(), len(image)) == image, etag


def test_uninterrupted_download_with_ranges_erases_each_sector_once_and_none_beyond():
    for size in (40000, 8000 + -len(make_image(2, size_bytes=8000)) % 4096):  # the second ends with a sector
        image = make_image(2, size_bytes=size)
        board = Bench()
        starts = erase_starts(board.install, RangeServer(image))
        assert starts == [4096 * block for block in range((len(image) + 4095) // 4096)], starts
    assert len(image) % 4096 == 0


def test_changed_file_starts_over_and_nothing_old_is_left_in_it():
    old, new = make_image(2, size_bytes=40000), make_image(3, size_bytes=30000)
    board = Bench()
    raises(RetryableError, "body_cut", board.install, RangeServer(old, cut=20000))
    api = RangeServer(new, etag='"two"')
    notes = board.install(api)
    assert len(api.starts) == 1 and notes == ["starts over: the server does not offer the rest of it"], notes
    assert read(board.slot(), len(new)) == new


def test_server_without_ranges_starts_over():
    image = make_image(2, size_bytes=40000)
    board = Bench()
    raises(RetryableError, "body_cut", board.install, RangeServer(image, cut=20000))
    assert board.install(raw(image)) == ["starts over: the server does not offer the rest of it"]
    assert read(board.slot(), len(image)) == image


def test_range_that_is_refused_or_not_the_one_asked_for_starts_over():
    image = make_image(2, size_bytes=40000)

    def refuse(reply, start):
        reply.status_code = 416

    def give_another(reply, start):
        reply.status_code = 206
        reply.headers["content-range"] = "bytes 0-99/100"

    for ranges in (refuse, give_another):
        board = Bench()
        raises(RetryableError, "body_cut", board.install, RangeServer(image, cut=20000))
        api = RangeServer(image, ranges=ranges)
        board.install(api)
        assert api.starts[1:] == [0], api.starts
        assert read(board.slot(), len(image)) == image


def test_part_of_a_file_that_nobody_asked_for_is_not_written():
    board = Bench()
    api = RangeServer(make_image(2, size_bytes=40000))
    api.request = lambda *call: partial(api)
    raises(PermanentError, "refused", board.install, api)
    assert read(board.slot(), 64) == b"\xff" * 64 and "update" not in board.saved()


def partial(api):
    reply = Reply(api.image, kind="application/octet-stream")
    api._range(reply, 4096)
    return reply


def test_heap_without_a_sector_in_one_piece_is_enough():
    board = Bench()
    sizes = []

    def watch(number, kind, address, size):
        if kind != "erase" and address >= 0x20000:
            sizes.append(size)

    update = board.start()
    hardware.flash.on_operation = watch
    update.bring(raw())
    assert max(sizes) == 2048 and sum(sizes) >= len(NEW), sizes


def test_what_was_written_before_is_hashed_not_believed():
    image = make_image(2, size_bytes=40000)
    board = Bench()
    raises(RetryableError, "body_cut", board.install, RangeServer(image, cut=20000))
    board.slot().writeblocks(1, bytes(100), 50)
    raises(RetryableError, "wrong_hash", board.install, RangeServer(image))
    assert board.slots.chosen().label == "ota_0"
    api = RangeServer(image)
    board.install(api)
    assert api.starts == [0]


def test_old_image_in_the_slot_is_not_taken_for_a_beginning():
    # Power fails after the record is written ahead, and before the first erase.
    image = make_image(2, size_bytes=40000)
    board = Bench()
    hardware.flash.program(0x20000, make_image(7, size_bytes=40000))

    def cut(number, kind, address, size):
        if address >= 0x20000:
            raise hardware.PowerLoss

    hardware.flash.on_operation = cut
    try:
        board.install(RangeServer(image))
        raise AssertionError("no cut")
    except hardware.PowerLoss:
        hardware.flash.on_operation = None
    assert board.saved()["update"]["etag"] == '"one"'
    api = RangeServer(image)
    board.install(api)
    assert api.starts == [0] and read(board.slot(), len(image)) == image


def test_blank_sectors_inside_an_image_only_cost_a_longer_rest():
    whole = make_image(2, size_bytes=8000)
    data = whole[296:4096] + b"\xff" * 12288 + whole[4096:8296]
    bundle_bytes = struct.unpack_from("<I", whole, 8300)[0]
    last = whole[8296 : 8304 + bundle_bytes]
    body = whole[:292] + struct.pack("<I", len(data)) + data + last
    checksum = 0xEF
    for byte in whole[32:288] + data + last[8:]:
        checksum ^= byte
    image = rehash(body + bytes(15 - len(body) % 16) + bytes([checksum]))
    board = Bench()
    raises(RetryableError, "body_cut", board.install, RangeServer(image, cut=20000))
    api = RangeServer(image)
    board.install(api)
    assert api.starts == [0] and read(board.slot(), len(image)) == image


def test_weak_or_foreign_etag_is_not_kept():
    for etag in ('W/"one"', "one", '"' + "x" * 200 + '"', '"a\tb"'):
        board = Bench()
        raises(
            RetryableError,
            "body_cut",
            board.install,
            RangeServer(make_image(2, 40000), etag=etag, cut=20000),
        )
        assert "etag" not in board.saved()["update"], etag


def test_server_learns_of_every_failed_trial_and_of_the_good_end():
    board = Bench()
    board.install(raw())
    board.try_out()
    roll_back()
    board.start()
    verdict = board.saved()["verdict"]
    assert verdict == {"phase": "trial", "versionId": V2, "attempt": 1, "code": "rolled_back"}, verdict
    before = hardware.flash.operations
    board.start()
    assert hardware.flash.operations == before
    board.install(raw())
    board.try_out()
    board.start().prove()
    verdict = board.saved()["verdict"]
    assert verdict == {"phase": "installed", "versionId": V2, "attempt": 2, "code": None}, verdict


def test_flash_that_fails_is_said_and_may_be_tried_again():
    board = Bench()
    update = board.start()

    def fail(number, kind, address, size):
        if address >= 0x20000:
            raise OSError(5)

    hardware.flash.on_operation = fail
    raises(RetryableError, "flash_failed", update.bring, raw())
    hardware.flash.on_operation = None
    board.install(raw())


def test_write_ahead_record_is_not_on_flash_before_the_header_check():
    board = Bench()
    seen = []

    class Watched(board.Partition):
        def readblocks(self, block, buffer, offset=0):
            if len(buffer) == 288:  # the header check's look at the running firmware
                seen.append(board.saved())
            super().readblocks(block, buffer, offset)

    board.Partition = Watched
    raises(PermanentError, "wrong_chip", board.install, raw(make_image(2, chip_id=9)))
    assert len(seen) == 1 and "update" not in seen[0], seen


def test_outcome_that_the_server_has_not_heard_is_reported_again():
    board = Bench()
    outcome = {"phase": "installed", "versionId": V1}
    busy = lambda *call: Reply(status_code=503)  # noqa: E731
    for answer, left in ((busy, True), (lambda *call: Reply(status_code=404), False), (lambda *call: Reply(), False)):
        board.device.record.save(outcome=outcome)
        in_process.serve(answer)
        try:
            things.report_outcome(board.device)
        finally:
            in_process.stop()
        assert board.saved().get("verdict") == (outcome if left else None)


class Vendor:
    """A server that has this version as its target, and believes that version 1 runs; `asked` is what it was asked
    for."""

    def __init__(self, target=V2):
        self.asked = []
        self.target = target

    def answer(self, method, url, data, headers):
        name = url.rpartition("/")[2]
        self.asked.append(name)
        if name in ("target.json", "current.json"):
            version_id = self.target if name == "target.json" else V1
            return json_reply({"id": version_id, "name": version_id[:1]})
        return Reply()

    def round(self, bench):
        """One round with this server."""
        bench.device.record.save(thing_id="a", api_key="b", renamed=True)
        in_process.serve(self.answer)
        try:
            run("main", "provision", bench.device)
        finally:
            in_process.stop()


def test_trial_without_a_record_does_not_ask_the_server_what_it_is():
    board = Bench()
    board.install(raw())
    board.try_out()
    board.root = scratch.folder()
    board.start()
    assert board.on_trial
    vendor = Vendor()
    raises(RetryableError, "firmware_cut", vendor.round, board)  # what counts came before
    assert "target.json" in vendor.asked and "current.json" not in vendor.asked, vendor.asked
    assert "versionId" not in board.saved() and board.saved()["image"] == board.running.image


def test_board_from_the_factory_asks_the_server_what_it_is():
    board = Bench()
    board.root = scratch.folder()
    board.start()
    vendor = Vendor()
    raises(RetryableError, "firmware_cut", vendor.round, board)  # what counts came before
    assert "current.json" in vendor.asked and board.saved()["versionId"] == V1


def test_trial_ends_only_when_the_product_works():
    board = Bench()
    board.install(raw())
    board.try_out()
    board.start()
    board.board.sensors = OSError(5)
    raises(RetryableError, "sensor", Vendor().round, board)
    assert board.board.ended_trials == 0 and board.board.on_trial()
    assert board.start().on_trial
    Vendor().round(board)
    assert board.board.ended_trials == 1 and not board.start().on_trial
    assert board.installed() == V2 and board.saved()["confirmed"]


def test_trial_is_not_passed_from_a_slot_whose_flash_has_gone_bad_since():
    board = Bench()
    board.install(raw())
    board.try_out()
    hardware.flash.program(0x20000 + 300, b"\0")
    board.start()
    raises(RetryableError, "wrong_hash", Vendor().round, board)
    assert board.board.ended_trials == 0 and board.state() == otadata.PENDING_VERIFY
    assert board.saved()["versionId"] == V1


def test_of_two_otadata_records_that_name_a_slot_the_newer_one_counts():
    board = Bench()
    for older, newer in ((0, 1), (1, 0)):
        otadata.write_record(hardware.flash, 0xD000, older, 1, otadata.ABORTED)
        otadata.write_record(hardware.flash, 0xD000, newer, 3, otadata.VALID)
        assert board.state("ota_0") == otadata.VALID, newer


def test_otadata_record_whose_check_value_does_not_fit_is_none():
    board = Bench()
    otadata.write_record(hardware.flash, 0xD000, 0, 1, otadata.VALID)
    otadata.write_record(hardware.flash, 0xD000, 1, 3, otadata.ABORTED)
    assert board.state("ota_0") == otadata.ABORTED
    hardware.flash.program(0xD000 + 0x1000 + 28, b"\0")  # torn
    assert board.state("ota_0") == otadata.VALID


def test_record_remembers_that_the_proven_release_takes_signed_ones_alone():
    for keys in ([], ["ab" * 32]):
        board = Bench()
        board.install(raw())
        board.try_out()
        board.start().device.settings.signing_keys = keys
        board.prove()
        assert board.saved()["signed"] is bool(keys)


def test_after_a_fall_back_the_running_firmware_is_held_for_good():
    board = Bench()
    board.install(raw())
    board.try_out()
    board.start().prove()
    hardware.running = "ota_0"  # ota_1 could not be loaded
    board.start().slots.free()
    assert board.slots.chosen().label == "ota_0" and board.state("ota_0") == otadata.VALID


def test_other_image_in_the_armed_slot_is_not_taken_for_the_new_version():
    board = Bench()
    board.install(raw())
    board.try_out()
    by_cable(0x20000, make_image(9))
    assert board.start().installed() is None


def test_record_that_could_not_be_written_is_written_by_the_next_round():
    board = Bench()
    record = board.device.record
    record._root = board.root + "none/"
    raises(RetryableError, "state_not_saved", lambda: record.save(api_key="new"))
    record._root = board.root
    reconcile(board.device)
    assert board.saved()["apiKey"] == "new"


def test_running_firmware_that_is_put_on_trial_keeps_its_versions_id():
    # The boot loader has fallen back to ota_0; holding that was cut between set_boot and the mark.
    board = Bench()
    otadata.write_record(hardware.flash, 0xD000, 1, 2, otadata.VALID)
    board.slots.running.partition.set_boot()
    sequence, state, _ = otadata.read_records(hardware.flash, 0xD000)[0]
    assert state == otadata.NEW
    otadata.write_record(hardware.flash, 0xD000, 0, sequence, otadata.PENDING_VERIFY)
    board.start()
    assert board.on_trial and board.installed() == V1
    board.prove()
    assert board.start().installed() == V1


def test_record_that_could_not_be_written_is_written_when_nothing_else_has_changed():
    board = Bench()
    record = board.device.record
    record._root = board.root + "none/"
    raises(RetryableError, "state_not_saved", lambda: record.save(renamed=True))
    record._root = board.root
    record.save(renamed=True)
    assert board.saved()["renamed"] is True

"""What an earlier update has left in the slot, in otadata or on flash does not speak for the next one."""

import os

from agent.errors import RetryableError

from host_tests.fakes.firmware import RangeServer
from host_tests.unit.expect import raises
from host_tests.unit.test_update import V2, V3, Bench, by_cable, raw, read
from tools.twin import hardware
from tools.twin.image import make_image
from tools.twin.small_chip import roll_back

SLOT = 0x20000
OLD, NEW = make_image(3, size_bytes=20000), make_image(2, size_bytes=22000)


def programmed(board, source, cut_at, version=V2):
    """Start an update, and lose power before the slot's operation number `cut_at`."""
    count = 0

    def cut(number, kind, address, size):
        nonlocal count
        if address >= SLOT:
            count += 1
            if count > cut_at:
                raise hardware.PowerLoss

    hardware.flash.on_operation = cut
    try:
        board.install(source, version)
    except hardware.PowerLoss:
        pass
    finally:
        hardware.flash.on_operation = None


def cut_before_otadata(board, version):
    """Install this version, and lose power before otadata is told of it."""

    def cut(number, kind, address, size):
        if 0xD000 <= address < 0xF000:
            raise hardware.PowerLoss

    hardware.flash.on_operation = cut
    try:
        board.install(raw(NEW), version)
    except hardware.PowerLoss:
        pass
    finally:
        hardware.flash.on_operation = None


def test_first_erase_that_stops_within_the_head_does_not_make_the_old_image_the_downloads_beginning():
    for blank in (32, 40, 63):
        board = Bench()
        by_cable(SLOT, OLD)
        programmed(board, RangeServer(NEW), 0)
        sector = b"\xff" * blank + OLD[blank:4096]
        hardware.flash.erase(SLOT)
        hardware.flash.program(SLOT, sector)
        server = RangeServer(NEW)
        board.install(server)
        assert read(board.slot(), len(NEW)) == NEW, blank
        assert "update" in board.saved() and board.saved()["update"]["attempts"] == 1, blank


def test_other_releases_broken_download_is_not_gone_on_with():
    board = Bench()
    programmed(board, RangeServer(OLD), 9, V3)
    programmed(board, RangeServer(NEW), 0)
    assert board.saved()["update"]["head"] == NEW[:64].hex(), "power failed before the record"
    lines = board.install(RangeServer(NEW))
    assert not [line for line in lines if "goes on" in line], lines
    assert read(board.slot(), len(NEW)) == NEW


def test_own_broken_download_is_gone_on_with():
    board = Bench()
    by_cable(SLOT, OLD)
    programmed(board, RangeServer(NEW), 9)
    lines = board.install(RangeServer(NEW))
    assert [line for line in lines if "goes on" in line], lines
    assert read(board.slot(), len(NEW)) == NEW


def test_head_damaged_on_its_way_to_flash_is_worth_another_try():
    board = Bench()

    def damage(number, kind, address, size):
        if kind == "erase" and address == SLOT + 4096:
            hardware.flash.on_operation = None
            hardware.flash.program(SLOT + 32, bytes(4))  # the magic that makes it an app

    hardware.flash.on_operation = damage
    raises(RetryableError, "wrong_hash", board.install, raw(NEW))
    board.install(raw(NEW))
    assert read(board.slot(), len(NEW)) == NEW


def test_trace_of_a_failed_trial_does_not_vouch_for_the_next_release():
    board = Bench()
    board.install(raw())
    board.try_out()
    roll_back()
    board.start()
    board.install(raw(NEW), V3)
    assert "trial.txt" not in os.listdir(board.root)
    roll_back()  # it never came as far as boot.py
    board.start()
    assert board.has_given_up(V3) and board.device.record.outcome["code"] == "never_started"


def test_power_lost_before_otadata_is_told_is_no_trial():
    board = Bench()
    board.install(raw())
    board.try_out()
    roll_back()
    board.start()
    cut_before_otadata(board, V3)
    board.start()
    assert not board.has_given_up(V3)


def test_trial_that_never_started_is_not_held_against_the_release_after_it():
    board = Bench()
    board.install(raw())
    roll_back()  # it never came as far as boot.py
    board.start()
    assert board.has_given_up(V2)
    cut_before_otadata(board, V3)
    board.start()
    assert not board.has_given_up(V3)

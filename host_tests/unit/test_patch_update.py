"""Updates by patch: no less sure than whole ones, and never a dead end."""

import binascii
import hashlib
import struct

from agent.errors import PermanentError, RetryableError

from host_tests.fakes.firmware import PatchServer, RangeServer
from host_tests.unit.expect import raises
from host_tests.unit.handmade_patch import Patch, command
from host_tests.unit.test_update import V3, Bench, erase_starts, read, rehash
from tools.twin import hardware
from tools.twin.image import make_image
from tools.twin.small_chip import SLOT_BYTES

BLOCK_BYTES = 8192
OLD = make_image(1, size_bytes=40000)


def _changed(places):
    """OLD with another byte in pairs of places, which leaves its checksum as it is."""
    body = bytearray(OLD[:-32])
    for place in places:
        body[place] ^= 64
    return rehash(bytes(body))


NEW = _changed((700, 9000, 9001, 20000, 20300, 30000, 30001, 39000))


def commands(base, image):
    """One command for each block, which changes what differs, and has the last quarter of it with it."""
    blocks = []
    for start in range(0, len(image), BLOCK_BYTES):
        end = min(start + BLOCK_BYTES, len(image))
        copied_end = start + (end - start) * 3 // 4
        pairs = b""
        last = start
        for at in range(start, copied_end):
            if base[at] != image[at] or at - last == 255:
                pairs += struct.pack("BB", at - last, (image[at] - base[at]) & 0xFF)
                last = at + 1
        blocks.append(command(0, copied_end - start, pairs, image[copied_end:end]))
    return blocks


def a_patch(image=NEW, base=OLD):
    patch = Patch(base, image, commands(base, image))
    patch.block_sectors = BLOCK_BYTES // 4096
    return patch


PATCH = a_patch().data()


def release_of(image):
    return binascii.hexlify(image[-32:-16]).decode()


class WatchingServer(PatchServer):
    """Sees which flash addresses are changed after how many requests."""

    def watch_flash(self):
        self.seen = []
        hardware.flash.on_operation = self._see

    def _see(self, number, kind, address, size):
        self.seen.append((len(self.asked), address))


def a_server(image=NEW, patch=PATCH, **how):
    return WatchingServer(image, patch, release_of(OLD), **how)


def is_installed(board, image=NEW):
    return read(board.slot(), len(image)) == image and board.slots.chosen().label == "ota_1"


def test_patch_makes_the_release_and_erases_each_sector_once():
    board, server = Bench(OLD), a_server()
    starts = erase_starts(board.install, server)
    assert server.asked == [("patch", 0)] and is_installed(board)
    assert starts == [4096 * number for number in range((len(NEW) + 4095) // 4096)], starts
    assert server.given_bytes == len(PATCH) < len(NEW) // 3


def test_patch_is_on_the_console():
    notes = Bench(OLD).install(a_server())
    assert notes == [f"comes as a patch of {len(PATCH)} bytes for {len(NEW)}"], notes


def test_server_that_knows_no_patches_is_asked_once_and_gives_the_whole():
    for server in (a_server(patch=None), RangeServer(NEW)):
        board = Bench(OLD)
        board.install(server)
        assert is_installed(board)
        assert len(server.asked if isinstance(server, PatchServer) else server.starts) == 1


def test_cut_patch_goes_on_at_its_block():
    header = a_patch()
    for cut in range(500, len(PATCH), 700):
        board, server = Bench(OLD), a_server(cut=cut)
        raises(RetryableError, "body_cut", board.install, server)
        starts = erase_starts(board.install, server)
        if len(server.asked) == 2:
            assert server.asked[1] == ("patch", 0) and starts[0] == 0  # nothing had been written
        else:
            (_, _), (kind, head), (rest_kind, rest) = server.asked
            assert (kind, head, rest_kind) == ("patch", 0, "patch")
            assert rest == header.offsets[starts[0] // BLOCK_BYTES], (rest, starts)
        # What is on flash stays there, but for the sector that may be torn.
        assert starts == [4096 * number for number in range(starts[0] // 4096, (len(NEW) + 4095) // 4096)], starts
        assert is_installed(board), cut


def test_cut_patch_goes_on_as_the_whole_where_there_is_no_patch_any_more():
    board, server = Bench(OLD), a_server(cut=5000)
    raises(RetryableError, "body_cut", board.install, server)
    server.patch = None
    board.install(server)
    kind, start = server.asked[-1]
    assert kind == "whole" and start > 0 and start % 4096 == 0, server.asked
    assert is_installed(board)


def test_cut_whole_goes_on_as_the_whole_without_asking_for_a_patch():
    board, server = Bench(OLD), a_server(patch=None, cut=20000)
    raises(RetryableError, "body_cut", board.install, server)
    server.patch = PATCH
    board.install(server)
    assert [kind for kind, _ in server.asked] == ["whole", "whole"] and server.asked[1][1] > 0, server.asked
    assert is_installed(board)


def test_other_release_under_the_same_name_starts_over():
    other = _changed((8000, 8100))
    board, server = Bench(OLD), a_server(cut=5000)
    raises(RetryableError, "body_cut", board.install, server)
    server.image, server.patch, server.etag = other, a_patch(other).data(), '"two"'
    board.install(server)
    assert server.asked[1:] == [("patch", 0)] and is_installed(board, other), server.asked


def test_patch_of_another_size_under_the_same_entity_tag_starts_over():
    other = make_image(1, size_bytes=36000)
    board, server = Bench(OLD), a_server(cut=5000)
    raises(RetryableError, "body_cut", board.install, server)
    server.image, server.patch = other, a_patch(other).data()
    board.install(server)
    assert server.asked[1:] == [("patch", 0), ("patch", 0)] and is_installed(board, other), server.asked


def _with_a_bit_less(byte):
    assert byte
    return byte & (byte - 1)


def expect_whole(board, server):
    """One round must be enough: the patch, then the whole."""
    board.install(server)
    assert [kind for kind, _ in server.asked] == ["patch", "whole"], server.asked
    assert server.asked[1][1] == 0 and is_installed(board, server.image)


def test_flipped_bit_in_the_base_is_noticed_before_anything_is_erased():
    for place in (0x10000 + 700, 0x10000 + 35000):
        board, server = Bench(OLD), a_server()
        hardware.flash.program(place, bytes([_with_a_bit_less(hardware.flash.read(place, 1)[0])]))
        board.start()
        server.watch_flash()
        expect_whole(board, server)
        hardware.flash.on_operation = None
        assert not [address for asked, address in server.seen if asked == 1 and address >= 0x20000], server.seen


def test_patch_for_another_base_is_followed_by_the_whole():
    board = Bench(OLD)
    expect_whole(board, a_server(patch=a_patch(NEW, _changed((5000, 5100))).data()))


def test_patch_of_an_unknown_version_is_followed_by_the_whole():
    patch = a_patch()
    patch.version = 9
    expect_whole(Bench(OLD), a_server(patch=patch.data()))


def test_damaged_patch_is_followed_by_the_whole_in_the_same_round():
    header_bytes = a_patch().offsets[0]
    for damaged in (
        b"GIF" + PATCH[3:],
        PATCH[:40] + b"\xff" + PATCH[41:],
        PATCH[: header_bytes + 1] + bytes(4) + PATCH[header_bytes + 5 :],
        PATCH[:-40] + b"\xff" * 40,
        PATCH + b"more",
        b"<html>a login page</html>" * 90,
    ):
        expect_whole(Bench(OLD), a_server(patch=damaged))


def test_patch_that_is_incomplete_at_the_server_is_no_reason_to_ask_for_ever():
    for size_bytes in (0, 3, 90, 400, len(PATCH) - 1):
        expect_whole(Bench(OLD), a_server(patch=PATCH[:size_bytes] or b"G"))


def test_patch_whose_end_nobody_marks_may_have_been_cut_and_is_asked_for_again():
    board, server = Bench(OLD), a_server(patch=PATCH[:-200])
    server.bounded = False
    raises(RetryableError, "patch_cut", board.install, server)
    server.patch, server.bounded = PATCH, True
    board.install(server)
    assert {kind for kind, _ in server.asked} == {"patch"} and is_installed(board), server.asked


def test_patch_that_makes_something_else_is_never_armed_and_not_tried_again():
    lie = bytearray(NEW)
    lie[25000] ^= 1
    patch = a_patch(bytes(lie))
    patch.sha256 = hashlib.sha256(NEW).digest()
    board, server = Bench(OLD), a_server(patch=patch.data())
    raises(RetryableError, "wrong_hash", board.install, server)
    assert board.slots.chosen().label == "ota_0" and read(board.slot(), 32) == b"\xff" * 32
    assert board.saved()["update"]["whole"] and board.saved()["verdict"]["code"] == "wrong_hash"
    board.install(server)
    assert server.asked == [("patch", 0), ("whole", 0)] and is_installed(board)


def test_failed_patch_is_remembered_through_a_power_cut():
    board, server = Bench(OLD), a_server(patch=PATCH[:90], cut=None)
    whole = server.request

    def cut_in_the_whole(method, url, data, headers):
        reply = whole(method, url, data, headers)
        if "A-IM" not in headers:
            raise hardware.PowerLoss
        return reply

    server.request = cut_in_the_whole
    try:
        board.install(server)
        raise AssertionError("no cut")
    except hardware.PowerLoss:
        assert server.asked == [("patch", 0), ("whole", 0)]
    server.request = whole
    board.install(server)
    assert server.asked[2:] == [("whole", 0)] and is_installed(board)


def test_next_release_is_asked_for_as_a_patch_again():
    board, server = Bench(OLD), a_server(patch=PATCH[:90])
    server.image = NEW[:30000]  # no image: the whole fails as well
    raises(RetryableError, "truncated", board.install, server)
    server = a_server()
    board.install(server, V3)
    assert server.asked == [("patch", 0)] and is_installed(board)


def test_patch_that_nobody_asked_for_is_not_followed():
    board, server = Bench(OLD), a_server(patch=PATCH[:90])
    ask = server.request
    server.request = lambda method, url, data, headers: ask(
        method, url, data, dict(headers, **{"A-IM": "gkp", "If-None-Match": f'"{server.base}"'})
    )
    raises(PermanentError, "refused", board.install, server)
    assert read(board.slot(), 64) == b"\xff" * 64


def test_manipulation_that_nobody_asked_for_is_no_patch():
    for im in ("gzip", "gkp, gzip", ""):
        board, server = Bench(OLD), a_server(im=im)
        board.install(server)
        assert server.asked == [("patch", 0), ("whole", 0)] and is_installed(board), im


def test_patch_for_more_than_the_slot_holds_is_given_up_before_anything_is_erased():
    patch = a_patch()
    patch.size_bytes = SLOT_BYTES + 1
    board, server = Bench(OLD), a_server(patch=patch.data())
    raises(PermanentError, "image_too_big", board.install, server)
    assert board.start().has_given_up("2" * 32) and server.asked == [("patch", 0)]
    assert read(board.slot(), 64) == b"\xff" * 64

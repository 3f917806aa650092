"""Whatever a patch holds: the new release comes out byte for byte, or an error of the agent's own says why not."""

import binascii
import hashlib

from agent.errors import AgentError, PermanentError, RetryableError
from ota.patch import PatchBody
from ota.patch_header import HEADER_MAX_BYTES, check_base, read_header

from host_tests.unit.expect import raises
from host_tests.unit.handmade_patch import BLOCK_BYTES, END, Patch, bits_to_bytes, command, pattern, stored, zeros
from host_tests.unit.patch_reading import SLOT_BYTES, Response, Slot, read_all

BASE = pattern(9000)
NEW = pattern(600, 2)


def add(data, at, difference):
    return data[:at] + bytes([(data[at] + difference) & 0xFF]) + data[at + 1 :]


# Block 0: copied from elsewhere, with differences in the first byte, after a long gap, in neighbours and in the last.
_COPY = BASE[700:4700]
for _at, _difference in ((0, 255), (300, 1), (301, 7), (3999, 128)):
    _COPY = add(_COPY, _at, _difference)
_BLOCK_0 = command(700, 4000, bytes([0, 255, 255, 0, 43, 1, 0, 7]) + b"\xff\0" * 14 + bytes([113, 128]), NEW[:96])
# Block 1: a copy, what is new, a copy from before the last one.
_BLOCK_1 = command(-4096, 1800) + command(inserted=NEW[96:296]) + command(6200, 1000) + command(-8500, 1096)
# Block 2, the last one and a short one: only what is new.
_BLOCK_2 = command(inserted=NEW[296:])
IMAGE = _COPY + NEW[:96]
IMAGE += BASE[:1800] + NEW[96:296] + BASE[8000:9000] + BASE[500:1596]
IMAGE += NEW[296:]
BLOCKS = [_BLOCK_0, _BLOCK_1, _BLOCK_2]


def rebuild(data, base=BASE, view_bytes=4096, **how):
    response = Response(data, **how)
    header = read_header(response, SLOT_BYTES)
    return read_all(PatchBody(response, Slot(base), header), view_bytes)


def rebuild_blocks(*blocks, size_bytes=BLOCK_BYTES, base=BASE):
    return rebuild(Patch(base, bytes(size_bytes), blocks).data(), base)


def test_release_comes_out_byte_for_byte_in_views_and_pieces_of_any_size():
    data = Patch(BASE, IMAGE, BLOCKS).data()
    for view_bytes in (1, 7, 300, 511, 512, 513, 4096, 10000):
        for piece_bytes in (1, 700, 100000):
            assert rebuild(data, view_bytes=view_bytes, piece_bytes=piece_bytes) == IMAGE, (view_bytes, piece_bytes)


# Made by tools/delta of pattern(9000), with a window of 10 bits and blocks of 4096 bytes
_OF_VERSION_1 = """
474b500128230000e232000001000a0077db379f5c9df8f5572d85d9b58d0197006ab6f5cb2c2a41a05abeee0bc739d059d0f04ce7bc
1acaee082451f8b0b76d26c657c29397d3ac55ca5f952109d8be6800000094000000aa000000c9000000da000000685d35de62606060
d8c1cdc050c7909f97aa9093092472f38b52b9e8cd4b01bae314330b90fc0f86599c00000000ffff7af6ffff7f06016d06060646ce04
1a4000000000ffff7af6ffff7f27660e0606061fce0414b8e0eefffffb7880120c00000000ffff6abbfbffff2326062000000000ffff
0300
"""


def test_patch_of_version_1_can_be_followed_for_ever():
    data = binascii.unhexlify(_OF_VERSION_1.replace("\n", ""))
    response = Response(data)
    header = read_header(response, SLOT_BYTES)
    image = read_all(PatchBody(response, Slot(BASE), header))
    assert len(image) == 13026 and image[3000:3013] == b"one line more"
    assert hashlib.sha256(image).digest() == header.sha256
    for block in range(4):
        body = PatchBody(Response(data[header.offset(block) :]), Slot(BASE), header, block)
        assert read_all(body) == image[block * 4096 :]


def test_header_says_what_the_patch_is_for():
    patch = Patch(BASE, IMAGE, BLOCKS)
    header = read_header(Response(patch.data()), SLOT_BYTES)
    assert (header.base_bytes, header.size_bytes, header.block_bytes, header.blocks) == (9000, len(IMAGE), 4096, 3)
    assert header.window_bits == 12
    assert header.base_sha256 == patch.base_sha256 and header.sha256 == patch.sha256
    assert [header.offset(block) for block in range(4)] == patch.offsets
    assert header.patch_bytes == len(patch.data())


def test_cut_download_goes_on_at_each_block():
    data = Patch(BASE, IMAGE, BLOCKS).data()
    header = read_header(Response(data), SLOT_BYTES)
    for block in range(header.blocks):
        body = PatchBody(Response(data[header.offset(block) :]), Slot(BASE), header, block)
        assert body.size_bytes == len(IMAGE) - block * BLOCK_BYTES
        assert read_all(body) == IMAGE[block * BLOCK_BYTES :], block


def test_release_that_is_only_compressed_needs_no_base():
    image = bytes(1 + 258 * 15)
    patch = Patch(b"", image, [b""])
    patch.blocks = [stored(command(inserted=image)[:10]) + zeros(15)]
    patch.offsets[1] = patch.offsets[0] + len(patch.blocks[0])
    response = Response(patch.data())
    header = read_header(response, SLOT_BYTES)
    check_base(header, Slot(BASE), memoryview(bytearray(100)))
    assert header.base_bytes == 0
    assert read_all(PatchBody(response, None, header)) == image


def test_block_without_a_base_may_lie_anywhere():
    image = pattern(4096, 5) + bytes(1 + 258 * 15)
    patch = Patch(b"", image, [command(inserted=image[:4096]), b""])
    patch.blocks[1] = stored(command(inserted=image[4096:])[:10]) + zeros(15)
    patch.offsets[2] = patch.offsets[1] + len(patch.blocks[1])
    assert rebuild(patch.data(), b"") == image


def test_whole_window_is_used():
    # A fixed code: 258 bytes from 2000 before, then the end
    match = bits_to_bytes("110" + "11000101" + "10101" + "111100111" + "0000000")
    inserted = pattern(2000, 6)
    image = BASE[:4096] + inserted + inserted[:258]
    patch = Patch(BASE, image, [command(0, 4096), command(inserted=inserted + inserted[:258])[:-258]])
    patch.blocks[1] = patch.blocks[1][: -len(END)] + match
    patch.offsets[2] = patch.offsets[1] + len(patch.blocks[1])
    assert rebuild(patch.data()) == image


def test_cut_anywhere_is_worth_another_try():
    data = Patch(BASE, IMAGE, BLOCKS).data()
    for size_bytes in range(len(data)):
        raises(RetryableError, "patch_cut", rebuild, data[:size_bytes])


def test_flipped_bit_anywhere_is_an_error_of_the_agents_own_or_changes_nothing():
    good = Patch(BASE, IMAGE, BLOCKS).data()
    for at in range(len(good)):
        data = good[:at] + bytes([good[at] ^ 1 << at % 8]) + good[at + 1 :]
        try:
            response = Response(data)
            header = read_header(response, SLOT_BYTES)
            image = read_all(PatchBody(response, Slot(BASE), header))
        except AgentError as error:
            assert error.code.startswith("patch_") or error.code == "image_too_big", error.code
        else:
            # A bit that deflate does not look at, or what the SHA-256 tells.
            assert (image == IMAGE) == (hashlib.sha256(image).digest() == header.sha256), at


def test_patch_for_another_base_is_refused_before_anything_is_written():
    header = read_header(Response(Patch(BASE, IMAGE, BLOCKS).data()), SLOT_BYTES)
    view = memoryview(bytearray(1000))
    check_base(header, Slot(BASE), view)
    raises(PermanentError, "patch_other_base", check_base, header, Slot(pattern(9000, 3)), view)
    raises(PermanentError, "patch_other_base", check_base, header, Slot(add(BASE, 8999, 1)), view)
    raises(PermanentError, "patch_other_base", check_base, header, Slot(BASE[:8192], 8192), view)
    raises(PermanentError, "patch_other_base", PatchBody, None, Slot(BASE[:8192], 8192), header)


def test_flipped_bit_in_the_base_is_noticed_in_the_result():
    data = Patch(BASE, IMAGE, BLOCKS).data()
    header = read_header(Response(data), SLOT_BYTES)
    assert hashlib.sha256(IMAGE).digest() == header.sha256
    image = rebuild(data, add(BASE, 4000, 64))
    assert len(image) == len(IMAGE) and hashlib.sha256(image).digest() != header.sha256


def test_copy_from_outside_of_the_base_is_refused():
    for seek, copy_bytes in ((-1, 4096), (9000 - 4096 + 1, 4096), (9000, 1), (0x7FFFFFFF, 10), (-0x80000000, 10)):
        raises(
            RetryableError, "patch_damaged", rebuild_blocks, command(seek, copy_bytes) + command(0, 4096 - copy_bytes)
        )
    # Exactly up to both ends is no reason to complain.
    data = Patch(BASE, bytes(9000), [command(0, 4096), command(808, 4096), command(-8192, 808)])
    assert rebuild(data.data()) == BASE[:4096] + BASE[-4096:] + BASE[:808]


def test_copy_without_a_base_is_refused():
    raises(RetryableError, "patch_damaged", rebuild, Patch(b"", bytes(4096), [command(0, 4096)]).data(), b"")


def test_release_larger_than_the_slot_is_refused():
    patch = Patch(BASE, bytes(SLOT_BYTES + 1), [command(0, 4096)] * 5)
    raises(PermanentError, "image_too_big", rebuild, patch.data())
    patch.size_bytes = 0xFFFFFFFF
    raises(PermanentError, "image_too_big", rebuild, patch.data())


def test_block_that_grows_beyond_its_end_is_refused():
    for block in (
        command(0, 4097),
        command(0, 4096, inserted=b"x"),
        command(0, 4000) + command(0, 97),
        command(0, 65535, inserted=b"x"),
    ):
        raises(RetryableError, "patch_damaged", rebuild_blocks, block)


def test_block_that_stays_short_is_refused():
    raises(RetryableError, "patch_damaged", rebuild_blocks, command(0, 4095))


def test_commands_that_make_nothing_do_not_go_on_for_ever():
    raises(RetryableError, "patch_damaged", rebuild_blocks, command() * 200 + command(0, 4096))


def test_differences_beyond_the_copy_are_refused():
    for pairs in (bytes([96, 1]) * 43, b"\xff\0" * 16 + b"\0\1", b"\0\1" * 4097, b"\0\1" * 5000, b"\xff\xff" * 17):
        raises(RetryableError, "patch_damaged", rebuild_blocks, command(0, 4096, pairs))


def test_copy_that_goes_on_behind_the_release_is_refused():
    last = command(inserted=NEW[296:500]) + command(-8192, 101)
    patch = _with_last_block(stored(last) + END)
    raises(RetryableError, "patch_damaged", rebuild, patch.data())


def test_long_piece_that_does_not_compress_comes_out():
    new = pattern(3800, 7)
    patch = Patch(BASE, BASE[:4096] + BASE[:296] + new, [command(0, 4096), command(-4096, 296, inserted=new)])
    assert rebuild(patch.data()) == BASE[:4096] + BASE[:296] + new


def test_deflate_that_ends_before_the_release_does_is_refused():
    for left_out in (1, 50, len(NEW[296:]), len(BLOCKS[2])):
        patch = _with_last_block(stored(BLOCKS[2][:-left_out]) + END)
        raises(RetryableError, "patch_damaged", rebuild, patch.data())


def test_each_byte_may_differ():
    # Alone, this patch would be longer than what it makes, and refused: so two blocks are copied as they are.
    image = bytes([(byte + 1) & 0xFF for byte in BASE[:3000]]) + BASE[3000:4096] + BASE[:4096] * 2
    patch = Patch(BASE, image, [command(0, 4096, b"\0\1" * 3000), command(-4096, 4096), command(-8192, 4096)])
    assert rebuild(patch.data()) == image


def test_patch_longer_than_what_it_makes_is_refused():
    patch = Patch(BASE, NEW, [command(inserted=NEW)])
    assert len(patch.data()) > len(NEW)
    raises(RetryableError, "patch_damaged", rebuild, patch.data())


def test_what_is_no_patch_is_refused():
    for data in (b"<html>" + b"x" * 100, b"\xe9" + bytes(2000), bytes(2000), b"GKQ\1" + bytes(96)):
        raises(RetryableError, "patch_damaged", rebuild, data)
    raises(RetryableError, "patch_cut", rebuild, b"")


def test_patch_of_a_later_version_is_told_apart_from_a_damaged_one():
    patch = Patch(BASE, IMAGE, BLOCKS)
    patch.version = 2
    raises(PermanentError, "patch_version", rebuild, patch.data())


def test_header_that_does_not_fit_itself_is_refused():
    for name, value in (
        ("crc_change", 1),
        ("size_bytes", 0),
        ("block_sectors", 0),
        ("block_sectors", 2),
        ("window_bits", 8),
        ("window_bits", 13),
        ("window_bits", 0xFFFF),
        ("offsets", [99, 300, 400, 500]),
        ("offsets", [101, 300, 400, 500]),
        ("offsets", [100, 300, 299, 500]),
        ("offsets", [100, 300, 400, 399]),
        ("offsets", [100, 300, 400, len(IMAGE)]),
        ("offsets", [100, 300, 400, 0xFFFFFFFF]),
    ):
        patch = Patch(BASE, IMAGE, BLOCKS)
        setattr(patch, name, value)
        raises(RetryableError, "patch_damaged", read_header, Response(patch.data()), SLOT_BYTES)
    patch = Patch(BASE, IMAGE, BLOCKS)
    patch.offsets = [100, 300, 400, len(IMAGE) - 1]
    assert read_header(Response(patch.data()), SLOT_BYTES).patch_bytes == len(IMAGE) - 1


def test_header_of_many_blocks_does_not_fill_the_memory():
    patch = Patch(BASE, IMAGE, BLOCKS)
    patch.size_bytes = 1 << 30
    response = Response(patch.data(), more=bytes(1000))
    raises(RetryableError, "patch_damaged", read_header, response, 1 << 31)
    assert response.taken_bytes <= HEADER_MAX_BYTES


def test_what_follows_the_patch_is_refused():
    raises(RetryableError, "patch_damaged", rebuild, Patch(BASE, IMAGE, BLOCKS).data() + b"x")
    for rest in (stored(b"x") + END, END + b"x", END + b"x" * 3000):
        raises(RetryableError, "patch_damaged", rebuild, _with_last_block(stored(BLOCKS[2]) + rest).data())


def test_byte_right_behind_the_stream_is_noticed():
    patch = _with_last_block(stored(BLOCKS[2]) + END + b"\0")
    raises(RetryableError, "patch_damaged", rebuild, patch.data())
    image = bytes(1 + 258 * 15)
    patch = Patch(b"", image, [b""])
    patch.blocks = [stored(command(inserted=image)[:10]) + zeros(15) + b"\0"]
    patch.offsets[1] = patch.offsets[0] + len(patch.blocks[0])
    raises(RetryableError, "patch_damaged", rebuild, patch.data(), b"")


def test_answer_without_end_is_left_after_the_patch():
    data = Patch(BASE, IMAGE, BLOCKS).data()
    response = Response(data, more=bytes(1000))
    header = read_header(response, SLOT_BYTES)
    raises(RetryableError, "patch_damaged", read_all, PatchBody(response, Slot(BASE), header))
    assert response.taken_bytes == len(data) + 1


def test_deflate_that_says_nothing_for_ever_is_left():
    nothing = b"\x00\x00\x00\xff\xff"
    patch = _with_last_block(nothing * 1000)
    response = Response(patch.data(), more=nothing * 1000)
    header = read_header(response, SLOT_BYTES)
    raises(RetryableError, "patch_damaged", read_all, PatchBody(response, Slot(BASE), header))
    assert response.taken_bytes <= header.patch_bytes


def test_deflate_bomb_makes_no_more_than_was_asked_for():
    bomb = zeros(1000)
    raises(RetryableError, "patch_damaged", rebuild, _with_last_block(bomb).data())
    # Behind a sound patch, and behind the end of its last command
    raises(RetryableError, "patch_damaged", rebuild, _with_last_block(stored(BLOCKS[2]) + bomb).data())
    ends_in_zeros = command(inserted=NEW[296:500] + bytes(100))[:-100]
    raises(RetryableError, "patch_damaged", rebuild, _with_last_block(stored(ends_in_zeros) + bomb).data())


def _with_last_block(block):
    patch = Patch(BASE, IMAGE, BLOCKS)
    patch.blocks[-1] = block
    patch.offsets[-1] = patch.offsets[-2] + len(block)
    return patch

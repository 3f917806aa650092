"""Generated patches: sound ones, ones whose commands break the rules, damaged ones; and what must come of each."""

import hashlib
import struct
import zlib

from agent.errors import AgentError
from hypothesis import strategies as st
from ota.patch import PatchBody
from ota.patch_header import read_header

_SLOT_BYTES = 40000
BASE = b"".join(hashlib.sha256(bytes([number])).digest() for number in range(250)) + bytes(1200)
"""What all these patches are for."""

_BLOCK_BYTES = (4096, 8192)
_BITS = 12
_COMMAND = struct.Struct("<iHHH")


class _Slot:
    """The base; reading outside of it is what must not happen."""

    size_bytes = len(BASE)

    def read(self, at: int, view) -> None:
        """As `Slot.read` on the device."""
        assert at >= 0 and at + len(view) <= len(BASE), "a read outside of the base"
        view[:] = BASE[at : at + len(view)]


class _Response:
    """A body in pieces."""

    def __init__(self, data: bytes, piece_bytes: int) -> None:
        self._data = memoryview(data)
        self._piece_bytes = piece_bytes

    def readinto(self, view) -> int:
        """As a response's."""
        count = min(len(view), self._piece_bytes, len(self._data))
        view[:count] = self._data[:count]
        self._data = self._data[count:]
        return count


def check_patch(example) -> None:
    """Follow the patch as the device does; compare with what the format's description says of it."""
    (data, sound), piece_bytes, view_bytes = example
    expected = _follow(data)
    assert not sound or expected is not None, "no patch at all: the generator errs"
    try:
        header = read_header(_Response(data, piece_bytes), _SLOT_BYTES)
        image = _rebuild(data, header, 0, piece_bytes, view_bytes)
        if sound and expected:
            block = piece_bytes % header.blocks
            assert _rebuild(data, header, block, piece_bytes, view_bytes) == expected[block * header.block_bytes :]
    except AgentError as error:
        assert not sound, f"sound, and refused: {error.args}"
        return
    assert image == expected


def _rebuild(data: bytes, header, first_block: int, piece_bytes: int, view_bytes: int) -> bytes:
    response = _Response(data[header.offset(first_block) :], piece_bytes)
    body = PatchBody(response, _Slot(), header, first_block)
    image = b""
    view = memoryview(bytearray(view_bytes))
    while count := body.readinto(view):
        image += view[:count]
        assert len(image) <= _SLOT_BYTES, "larger than the slot"
    body.finish()
    return image


def _follow(data: bytes) -> bytes | None:
    """What docs/patch-format.md says that the patch makes, without any regard for memory; None for no patch."""
    try:
        base_bytes, size_bytes, sectors = struct.unpack_from("<IIH", data, 4)
        block_bytes = sectors * 4096
        at = struct.unpack_from("<I", data, 80)[0]
        inflater = zlib.decompressobj(-15)
        stream = memoryview(inflater.decompress(data[at:], 1 << 20))
        image = bytearray()
        while len(image) < size_bytes:
            if len(image) % block_bytes == 0:
                base_at = len(image)
            seek, copy_bytes, pairs, insert_bytes = _COMMAND.unpack_from(stream)
            base_at += seek
            copied = bytearray(BASE[base_at : base_at + copy_bytes]) if base_at >= 0 else bytearray()
            if len(copied) < copy_bytes or (copy_bytes and base_at + copy_bytes > base_bytes):
                return None
            place = -1
            for skip, difference in zip(stream[10 : 10 + 2 * pairs : 2], stream[11 : 10 + 2 * pairs : 2], strict=True):
                place += skip + 1
                copied[place] = copied[place] + difference & 0xFF
            stream = stream[10 + 2 * pairs :]
            image += copied + stream[:insert_bytes]
            stream = stream[insert_bytes:]
            base_at += copy_bytes
        return bytes(image) if inflater.eof and not inflater.unused_data and not stream else None
    except (struct.error, zlib.error, IndexError, ValueError, ZeroDivisionError):
        return None


# Sound patches, and lies in them: a lie replaces one number of one command.

_NUMBERS = ("seek", "copy", "pairs", "insert")
_EDGES = (0, 1, 2, 255, 256, 4095, 4096, 4097, 0x7FFF, 0xFFFF)


def _make(plan, size_bytes: int, block_bytes: int, level: int, lies: list, damage: list) -> tuple[bytes, bool]:
    """A patch whose commands follow the plan, over and over, as far as they fit; and whether it is a sound one."""
    blocks = []
    number = 0
    for start in range(0, size_bytes, block_bytes):
        block = b""
        at, end, base_at = start, min(start + block_bytes, size_bytes), start
        while at < end:
            command, made_bytes, base_at = _command(plan[number % len(plan)], end - at, base_at)
            for place, name, value in lies:
                if place == number:
                    command = _lie(command, _NUMBERS.index(name), value)
            block += command
            at += made_bytes
            number += 1
        deflater = zlib.compressobj(level, zlib.DEFLATED, -_BITS)
        blocks.append(deflater.compress(block) + deflater.flush(zlib.Z_FULL_FLUSH))
    blocks[-1] += zlib.compressobj(wbits=-_BITS).flush()
    data = _assemble(blocks, size_bytes, block_bytes)
    sound = len(data) < size_bytes and not lies and not damage
    for change in damage:
        data = change(data)
    return data, sound


def _command(planned, left_bytes: int, base_at: int) -> tuple[bytes, int, int]:
    copy_at, copy_bytes, gaps, insert = planned
    copy_bytes = min(copy_bytes, left_bytes, len(BASE))
    insert = insert[: left_bytes - copy_bytes]
    if not copy_bytes + len(insert):
        insert = bytes(left_bytes)
    copy_at %= len(BASE) - copy_bytes + 1
    pairs = b""
    end = 0
    for gap in gaps:
        if end + gap >= copy_bytes:
            break
        pairs += bytes((gap, gap ^ copy_bytes & 0xFF))
        end += gap + 1
    numbers = _COMMAND.pack(copy_at - base_at, copy_bytes, len(pairs) // 2, len(insert))
    return numbers + pairs + insert, copy_bytes + len(insert), copy_at + copy_bytes


def _lie(command: bytes, place: int, value: int) -> bytes:
    numbers = list(_COMMAND.unpack_from(command))
    numbers[place] = value if place == 0 else value & 0xFFFF
    return _COMMAND.pack(*numbers) + command[_COMMAND.size :]


def _assemble(blocks: list[bytes], size_bytes: int, block_bytes: int) -> bytes:
    head = b"GKP\1" + struct.pack("<IIHH", len(BASE), size_bytes, block_bytes // 4096, _BITS) + bytes(64)
    offsets = [len(head) + 4 * len(blocks) + 8]
    for block in blocks:
        offsets.append(offsets[-1] + len(block))
    head += struct.pack(f"<{len(offsets)}I", *offsets)
    return head + struct.pack("<I", zlib.crc32(head)) + b"".join(blocks)


def _with_crc(data: bytes) -> bytes:
    """The patch with a CRC that fits its header again, whatever has been done to that."""
    if len(data) < 84:
        return data
    end = struct.unpack_from("<I", data, 80)[0] - 4
    return (
        data
        if not 80 < end < len(data) - 4
        else data[:end] + struct.pack("<I", zlib.crc32(data[:end])) + data[end + 4 :]
    )


def _byte(place: int, value: int):
    return lambda data: data[: place % len(data)] + bytes([value]) + data[place % len(data) + 1 :] if data else data


def _word(place: int, value: int):
    return lambda data: _with_crc(data[:place] + struct.pack("<I", value) + data[place + 4 :])


def _cut(place: int):
    return lambda data: data[: place % (len(data) + 1)]


def _grow(size_bytes: int, value: int):
    return lambda data: data + bytes([value]) * size_bytes


_places = st.one_of(st.integers(0, 120), st.integers(0, 1 << 16))
_damage = st.one_of(
    st.builds(_byte, _places, st.integers(0, 255)),
    st.builds(
        _word,
        st.integers(0, 30).map(lambda word: 4 * word),
        st.one_of(st.sampled_from(_EDGES), st.integers(0, 0xFFFFFFFF)),
    ),
    st.builds(_cut, _places),
    st.builds(_grow, st.integers(1, 5000), st.integers(0, 255)),
)
_lies = st.tuples(
    st.integers(0, 8),
    st.sampled_from(_NUMBERS),
    st.one_of(st.sampled_from(_EDGES), st.integers(-0x80000000, 0x7FFFFFFF)),
)
_gaps = st.one_of(
    st.binary(max_size=60),
    st.builds(
        lambda gaps, times: bytes(gaps) * times,
        st.lists(st.integers(0, 3), min_size=1, max_size=3),
        st.integers(1, 400),
    ),
)
_plans = st.tuples(
    st.integers(0, 1 << 16),
    st.one_of(st.just(0), st.integers(0, 5000), st.integers(1000, 5000)),
    _gaps,
    st.one_of(st.just(b""), st.binary(max_size=80), st.integers(200, 5000).map(bytes)),
)
_patches = st.builds(
    _make,
    st.lists(_plans, min_size=1, max_size=6),
    st.one_of(st.integers(1, 20000), st.integers(5000, 20000)),
    st.sampled_from(_BLOCK_BYTES),
    st.sampled_from([0, 9, 9]),
    st.one_of(st.just([]), st.lists(_lies, max_size=2)),
    st.one_of(st.just([]), st.just([]), st.lists(_damage, max_size=2)),
)
patches = st.tuples(
    _patches, st.one_of(st.integers(1, 40), st.just(1400)), st.one_of(st.integers(1, 40), st.just(4096))
)

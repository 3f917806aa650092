"""Makes patches, and follows them as a device does.

The differences are found by bsdiff; how they are written down is for a reader with little memory and little time. Every
patch is followed once, by the device's own code, before anybody gets it.
"""

import contextlib
import hashlib
import importlib
import io
import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from types import ModuleType

import bsdiff4
import bsdiff4.format

from tools.delta import PatchError
from tools.twin import paths

BLOCK_BYTES = 64 * 1024
"""Of the new release in one block, where a download that was cut goes on."""

_MAGIC = b"GKP"
_VERSION = 1
_FIXED = "<3sBIIHH32s32s"
_SECTOR_BYTES = 4096
_NUMBER_BYTES = 4  # of a block's place, and of the CRC
_COMMAND = "<iHHH"
_COMMAND_MAX_BYTES = 0xFFFF
_DIFFERENT = re.compile(rb"[^\0]")
_WINDOW_BITS = 12
_DELTA_WINDOW_BITS = 10  # a patch is hardly larger for it, and the device saves 3 KB
_MEMORY_LEVELS = (9, 8, 7)  # how many symbols share a table of codes: which is best differs from block to block
_CONTROL_BYTES = 24  # of bsdiff: how many bytes to copy, to insert, and to go on in the base
_SIGN = 1 << 63
_SLOT_MAX_BYTES = 1 << 32


@dataclass(frozen=True)
class _Part:
    """Some bytes of the new release: copied from `base_at`, with `differences` to be added; or new ones."""

    at: int
    size_bytes: int
    base_at: int = 0
    differences: bytes | None = None


def make_patch(
    base: bytes, image: bytes, below_bytes: int | None = None, block_bytes: int = BLOCK_BYTES
) -> bytes | None:
    """A patch that makes `image` out of `base`, an empty one for a release that is only compressed. None when it is not
    smaller than `below_bytes`, what the device would download otherwise (without it, the image)."""
    bits = _DELTA_WINDOW_BITS if base else _WINDOW_BITS
    blocks = [_deflate(_pack(parts, image), bits) for parts in _blocks(_parts(base, image), len(image), block_bytes)]
    if not blocks:
        return None
    blocks[-1] += zlib.compressobj(wbits=-bits).flush()
    patch = _header(base, image, block_bytes, bits, blocks) + b"".join(blocks)
    if len(patch) >= min(below_bytes or len(image), len(image)):
        return None
    if apply_patch(base, patch) != image:
        raise PatchError("the patch makes something else")
    return patch


def apply_patch(base: bytes, patch: bytes, first_block: int = 0) -> bytes:
    """What the device makes of `base` and `patch`, from block `first_block` on. PatchError when it refuses."""
    header = read_header(patch)
    with _verdict():
        response = io.BytesIO(patch[header.offset(first_block) :])
        _device_module("ota.patch_header").check_base(header, _Slot(base), memoryview(bytearray(_SECTOR_BYTES)))
        body = _device_module("ota.patch").PatchBody(response, _Slot(base), header, first_block)
        image = bytearray(body.size_bytes)
        body.readinto(memoryview(image))
        body.finish()
    return bytes(image)


def read_header(patch: bytes):
    """The patch's header, a device's `ota.patch_header.PatchHeader`. PatchError when a device refuses it."""
    with _verdict():
        return _device_module("ota.patch_header").read_header(io.BytesIO(patch), _SLOT_MAX_BYTES)


@contextlib.contextmanager
def _verdict() -> Iterator[None]:
    """What the device refuses, as PatchError with the device's own sentence."""
    try:
        yield
    except _device_module("agent.errors").AgentError as error:
        raise PatchError(_device_module("agent.sentences").sentence(error)) from None


def _device_module(name: str) -> ModuleType:
    paths.make_importable()
    return importlib.import_module(name)


class _Slot:
    """A slot that lies in memory, as far as a patch reads it."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.size_bytes = len(data)

    def read(self, at: int, view) -> None:
        view[:] = self._data[at : at + len(view)]


def _header(base: bytes, image: bytes, block_bytes: int, bits: int, blocks: list[bytes]) -> bytes:
    base_digest = hashlib.sha256(base).digest() if base else bytes(hashlib.sha256().digest_size)
    digest = hashlib.sha256(image).digest()
    sizes = len(base), len(image), block_bytes // _SECTOR_BYTES, bits
    fixed = struct.pack(_FIXED, _MAGIC, _VERSION, *sizes, base_digest, digest)
    offsets = [len(fixed) + _NUMBER_BYTES * (len(blocks) + 2)]
    for block in blocks:
        offsets.append(offsets[-1] + len(block))
    head = fixed + struct.pack(f"<{len(offsets)}I", *offsets)
    return head + struct.pack("<I", zlib.crc32(head))


def _parts(base: bytes, image: bytes) -> Iterator[_Part]:
    """How the image is made of the base."""
    if not base:
        yield _Part(0, len(image))
        return
    _, controls, differences, _ = bsdiff4.format.read_patch(io.BytesIO(bsdiff4.diff(base, image)))
    at = base_at = difference_at = 0
    for place in range(0, len(controls), _CONTROL_BYTES):
        copied, inserted, seek = (_signed(number) for number in struct.unpack_from("<QQQ", controls, place))
        if copied:
            yield _Part(at, copied, base_at, differences[difference_at : difference_at + copied])
        if inserted:
            yield _Part(at + copied, inserted)
        at += copied + inserted
        difference_at += copied
        base_at += copied + seek


def _signed(number: int) -> int:
    """bsdiff's numbers: sign and magnitude."""
    return _SIGN - number if number & _SIGN else number


def _blocks(parts: Iterator[_Part], size_bytes: int, block_bytes: int) -> Iterator[list[_Part]]:
    """The parts, cut at each block's end and at what a command can count."""
    block: list[_Part] = []
    for part in parts:
        at, left = part.at, part.size_bytes
        while left:
            count = min(left, block_bytes - at % block_bytes, _COMMAND_MAX_BYTES)
            done = at - part.at
            differences = None if part.differences is None else part.differences[done : done + count]
            block.append(_Part(at, count, part.base_at + done, differences))
            at += count
            left -= count
            if at % block_bytes == 0 or at == size_bytes:
                yield block
                block = []


def _pack(parts: list[_Part], image: bytes) -> bytes:
    """A block's commands: each copies, and then inserts."""
    packed = bytearray()
    base_at = parts[0].at
    copy: _Part | None = None
    for part in parts:
        if part.differences is not None:
            if copy:
                packed += _command(copy, base_at, b"")
                base_at = copy.base_at + copy.size_bytes
            copy = part
            continue
        packed += _command(copy, base_at, image[part.at : part.at + part.size_bytes])
        base_at = copy.base_at + copy.size_bytes if copy else base_at
        copy = None
    return bytes(packed + _command(copy, base_at, b"")) if copy else bytes(packed)


def _command(copy: _Part | None, base_at: int, inserted: bytes) -> bytes:
    if copy is None or copy.differences is None:
        return struct.pack(_COMMAND, 0, 0, 0, len(inserted)) + inserted
    pairs = _pairs(copy.differences)
    counts = struct.pack(_COMMAND, copy.base_at - base_at, copy.size_bytes, len(pairs) // 2, len(inserted))
    return counts + pairs + inserted


def _pairs(differences: bytes) -> bytes:
    """How many bytes to leave as they are, and what to add to the next one; zero across a long way."""
    pairs = bytearray()
    end = 0
    for found in _DIFFERENT.finditer(differences):
        gap = found.start() - end
        pairs += b"\xff\0" * (gap >> 8)
        pairs += bytes((gap & 0xFF, differences[found.start()]))
        end = found.end()
    return bytes(pairs)


def _deflate(block: bytes, bits: int) -> bytes:
    """The block for a raw inflater that knows nothing of the blocks before; the stream goes on behind it."""
    packed = []
    for level in _MEMORY_LEVELS:
        deflater = zlib.compressobj(9, zlib.DEFLATED, -bits, level)
        packed.append(deflater.compress(block) + deflater.flush(zlib.Z_FULL_FLUSH))
    return min(packed, key=len)

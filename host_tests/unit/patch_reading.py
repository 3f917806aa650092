"""What a patch is read from and into, and what comes of it: the same on both runtimes."""

import binascii
import struct

from agent.errors import AgentError
from ota.patch import PatchBody
from ota.patch_header import read_header

from tools.proof import scratch

SLOT_BYTES = 16384
_CASE_HEADER = "<II"  # bytes of the base, of the patch


class Slot:
    """A slot in memory that keeps count of where it was read."""

    def __init__(self, data, size_bytes=SLOT_BYTES):
        self.data = data + b"\xff" * (size_bytes - len(data))
        self.size_bytes = size_bytes

    def read(self, at, view):
        assert at >= 0 and at + len(view) <= self.size_bytes, "read outside of the slot"
        view[:] = self.data[at : at + len(view)]


class Response:
    """A body that comes in pieces; `more` follows for ever."""

    def __init__(self, data, piece_bytes=1000, more=b""):
        self._data = data
        self._piece_bytes = piece_bytes
        self._more = more
        self.taken_bytes = 0

    def readinto(self, view):
        count = min(len(view), self._piece_bytes)
        if len(self._data) < count and self._more:
            self._data += self._more
        count = min(count, len(self._data))
        view[:count] = self._data[:count]
        self._data = self._data[count:]
        self.taken_bytes += count
        return count


def read_all(body, view_bytes=4096):
    image = b""
    view = memoryview(bytearray(view_bytes))
    while True:
        count = body.readinto(view)
        image += bytes(view[:count])
        assert len(image) <= SLOT_BYTES, "larger than the slot"
        if count < view_bytes:
            body.finish()
            return image


def verdict(base, patch):
    """What comes of a patch: the code of an error, or the checksum of the release that it makes."""
    response = Response(patch)
    try:
        header = read_header(response, SLOT_BYTES)
        return str(binascii.crc32(read_all(PatchBody(response, Slot(base), header))))
    except AgentError as error:
        return error.code


def write_cases(cases):
    """Write pairs of base and patch where `print_verdicts` finds them."""
    with open(scratch.base + "patches", "wb") as file:
        for base, patch in cases:
            file.write(struct.pack(_CASE_HEADER, len(base), len(patch)) + base + patch)


def print_verdicts():
    """Print a line for each of these pairs."""
    with open(scratch.base + "patches", "rb") as file:
        while True:
            header = file.read(struct.calcsize(_CASE_HEADER))
            if not header:
                break
            base_bytes, patch_bytes = struct.unpack(_CASE_HEADER, header)
            base = file.read(base_bytes)
            print(verdict(base, file.read(patch_bytes)))

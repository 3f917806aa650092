"""One OTA slot on flash."""

import struct

from agent.errors import RetryableError
from micropython import const

SECTOR_BYTES = const(4096)
HELD_BACK_BYTES = const(32)  # an image without its first bytes is none to the boot loader

_ERASE_BLOCK = const(6)  # of Partition.ioctl
_HEADER_BYTES = const(24)
_SEGMENT_HEADER_BYTES = const(8)
_CHECKSUM_ALIGNMENT = const(16)
_FINGERPRINT_BYTES = const(16)


class Slot:
    """One OTA slot: its label in the partition table, like "ota_1", its size, and its bytes.

    `held_back` are the first bytes of an image that is not checked yet; None when they are on flash."""

    def __init__(self, partition) -> None:
        self.partition = partition
        _, self.subtype, self.address, self.size_bytes, self.label, _ = partition.info()
        self.held_back: bytes | None = None

    def read(self, at: int, view) -> None:
        """Fill `view` with the image's bytes from byte `at` on, those held back included."""
        self.partition.readblocks(at // SECTOR_BYTES, view, at % SECTOR_BYTES)
        if self.held_back and at < HELD_BACK_BYTES:
            part = self.held_back[at : at + len(view)]
            view[: len(part)] = part

    def erase(self, at: int) -> None:
        """Erase the sector that begins at byte `at`. OSError when that fails."""
        self.partition.ioctl(_ERASE_BLOCK, at // SECTOR_BYTES)

    def program(self, at: int, view) -> None:
        """Write `view` from byte `at` on, to what has been erased. OSError when that fails."""
        self.partition.writeblocks(at // SECTOR_BYTES, view, at % SECTOR_BYTES)

    def segments_end(self, limit_bytes: int) -> "int | None":
        """Return where the image's last segment ends; None when that is beyond `limit_bytes`. RetryableError for a
        segment that cannot be one."""
        header = bytearray(_SEGMENT_HEADER_BYTES)
        self.read(0, header)
        at = _HEADER_BYTES
        for _ in range(header[1]):
            if at + _SEGMENT_HEADER_BYTES > limit_bytes:
                return None
            self.read(at, header)
            length = struct.unpack_from("<I", header, 4)[0]
            if length & 3:
                raise RetryableError("bad_segment", length)
            at += _SEGMENT_HEADER_BYTES + length
        return at if at <= limit_bytes else None

    def fingerprint(self) -> "str | None":
        """Return what tells the release in this slot from others: half of its image's appended SHA-256, in hex (32
        characters). None when there is no image."""
        try:
            end = self.segments_end(self.size_bytes - _CHECKSUM_ALIGNMENT - _FINGERPRINT_BYTES)
        except RetryableError:
            end = None
        if end is None:
            return None
        digest = bytearray(_FINGERPRINT_BYTES)
        self.read(end // _CHECKSUM_ALIGNMENT * _CHECKSUM_ALIGNMENT + _CHECKSUM_ALIGNMENT, digest)
        return bytes(digest).hex()

"""May this image run here? Judged by its head before the first erase, and as a whole from flash after the last write.

The format is Espressif's app image: a 24-byte header, segments, a checksum, and a SHA-256 of all of it; the app
descriptor at offset 32 tells an app from a boot loader. A signed image is padded to a whole sector and followed by a
sector of signatures.
"""

import struct

from micropython import const

from .errors import BadImage, DamagedImage

HEAD_BYTES = const(288)  # image header, first segment header, app descriptor

_MAGIC = const(0xE9)
_DESCRIPTOR_MAGIC = const(0xABCD5432)
_SEGMENTS_MAX = const(16)
_HASH_BYTES = const(32)
_SECTOR_BYTES = const(4096)
_FOLD_BYTES = const(512)
_CHIPS = {
    0: "ESP32",
    2: "ESP32-S2",
    5: "ESP32-C3",
    9: "ESP32-S3",
    12: "ESP32-C2",
    13: "ESP32-C6",
    16: "ESP32-H2",
}


class Gate:
    """What this board demands of a firmware: `running` is the slot it runs from, `revision` its chip's (major * 100 +
    minor; None where it cannot be told), `trusted` the digests of the keys one of which must have signed. With none, no
    signature is asked for."""

    def __init__(self, running, revision: "int | None", trusted: "list[str]") -> None:
        self._revision = revision
        self._trusted = trusted
        head = bytearray(40)
        running.readblocks(0, head, 0)
        self._chip = _chip(head)
        self._secure_version = _secure_version(head)

    def check_head(self, head, slot_bytes: int) -> None:
        """Judge an image by its first HEAD_BYTES and the size of its slot. BadImage says what is wrong with it."""
        if len(head) < HEAD_BYTES or head[0] != _MAGIC:
            raise BadImage("not_an_image", f"the firmware is no ESP32 image (it begins with {_hex(head[:4])})")
        if not 1 <= head[1] <= _SEGMENTS_MAX:
            raise BadImage("bad_segments", f"the firmware's header names {head[1]} segments")
        chip = _chip(head)
        if chip != self._chip:
            names = [_CHIPS.get(number, f"chip {number}") for number in (chip, self._chip)]
            raise BadImage("wrong_chip", f"the firmware is for {names[0]}, this board is {names[1]}")
        revision = struct.unpack_from("<H", head, 15)[0]
        if self._revision is not None and revision > self._revision:
            raise BadImage("newer_chip", f"the firmware needs chip revision {revision}, this chip is {self._revision}")
        if struct.unpack_from("<I", head, 32)[0] != _DESCRIPTOR_MAGIC:
            raise BadImage(
                "not_an_app", "the firmware has no app descriptor: publish the app alone, not a combined image"
            )
        secure = _secure_version(head)
        if secure < self._secure_version:
            raise BadImage(
                "older_secure_version",
                f"the firmware's secure version is {secure}, not {self._secure_version} or later",
            )
        if head[23] != 1:
            raise BadImage("no_hash", "the firmware has no SHA-256 at its end")
        if struct.unpack_from("<I", head, 28)[0] > slot_bytes:
            raise too_big(slot_bytes)

    def check_slot(self, slot, size_bytes: "int | None", buffer) -> None:
        """Judge the image in `slot` as a whole, read back from flash. DamagedImage when it is not what its hash or its
        signature says, BadImage when it must not run here.

        `size_bytes` is how many bytes were written, None when only the image itself can tell; `buffer` is one sector of
        scratch memory."""
        import hashlib

        view = memoryview(buffer)
        slot_bytes = slot.info()[3]
        limit_bytes = slot_bytes if size_bytes is None else size_bytes
        head = view[: min(HEAD_BYTES, limit_bytes)]
        slot.readblocks(0, head, 0)
        self.check_head(head, slot_bytes)
        data_end, fold = _walk(slot, limit_bytes)
        hash_at = (data_end + 16) // 16 * 16
        end = hash_at + _HASH_BYTES
        if end > limit_bytes:
            raise DamagedImage("truncated", "the firmware ends before its hash does")
        padded_end = (end + _SECTOR_BYTES - 1) // _SECTOR_BYTES * _SECTOR_BYTES
        signed_end = padded_end + _SECTOR_BYTES
        if size_bytes not in (None, end, signed_end):
            raise DamagedImage("wrong_length", f"the firmware is {size_bytes} bytes long, its segments say {end}")
        if self._trusted and signed_end > limit_bytes:
            raise BadImage("no_signature", "the firmware is not signed, and /config.json has signing_keys")

        # One pass: what a signature covers holds the appended hash, which the chip itself checks before it boots.
        digest = hashlib.sha256()
        hashed_end = padded_end if self._trusted else hash_at
        for at in range(0, hashed_end, _SECTOR_BYTES):
            part = view[: min(_SECTOR_BYTES, hashed_end - at)]
            slot.readblocks(at // _SECTOR_BYTES, part, 0)
            digest.update(part)
            for start in range(0, min(len(part), data_end - at), _FOLD_BYTES):
                fold ^= int.from_bytes(part[start : min(start + _FOLD_BYTES, data_end - at)], "little")
        appended = view[: _HASH_BYTES + 1]  # the checksum before it, too
        slot.readblocks((hash_at - 1) // _SECTOR_BYTES, appended, (hash_at - 1) % _SECTOR_BYTES)
        digest = digest.digest()
        if not self._trusted and digest != bytes(appended[1:]):
            raise DamagedImage("wrong_hash", "the firmware on flash does not match its SHA-256")
        checksum = 0xEF
        for byte in fold.to_bytes(_FOLD_BYTES, "little"):
            checksum ^= byte
        if checksum != appended[0]:
            raise DamagedImage("wrong_checksum", "the firmware on flash does not match its checksum")
        if self._trusted:
            from . import signature

            signature.check(slot, padded_end, digest, self._trusted, view)


def too_big(slot_bytes: int) -> BadImage:
    """The error for an image that does not fit its slot."""
    return BadImage("image_too_big", f"the firmware is larger than the slot's {slot_bytes} bytes")


def _walk(slot, limit_bytes: int) -> "tuple[int, int]":
    """Where the image's last segment ends, and its headers folded into a number: the checksum leaves them out."""
    header = bytearray(24)
    slot.readblocks(0, header, 0)
    fold = 0
    for at in range(0, 24, 8):
        fold ^= int.from_bytes(header[at : at + 8], "little")
    segments = header[1]
    segment = memoryview(header)[:8]
    at = 24
    for _ in range(segments):
        if at + 8 > limit_bytes:
            raise DamagedImage("truncated", "the firmware ends before its segments do")
        slot.readblocks(at // _SECTOR_BYTES, segment, at % _SECTOR_BYTES)
        fold ^= int.from_bytes(segment, "little")
        length = struct.unpack_from("<I", segment, 4)[0]
        if length & 3:
            raise DamagedImage("bad_segments", f"the firmware has a segment of {length} bytes, no multiple of 4")
        at += 8 + length
    if at > limit_bytes:
        raise DamagedImage("truncated", "the firmware ends before its segments do")
    return at, fold


def _secure_version(head) -> int:
    return struct.unpack_from("<I", head, 36)[0]


def _chip(head) -> int:
    return struct.unpack_from("<H", head, 12)[0]


def _hex(data) -> str:
    return "".join(f"{byte:02x}" for byte in data)

"""The world these tests fake: a flash chip, images, a server's reply, a folder for the store."""

import binascii
import hashlib
import io
import struct

import chip
import esp32
import flash
import gadgetkeeper.firmware
import gadgetkeeper.install
import main
import otadata
from gadgetkeeper.errors import RetryableError

# These tests hold on to the agent's modules between steps, as the device does not.
gadgetkeeper.forget = gadgetkeeper.firmware.forget = gadgetkeeper.install.forget = main.forget = lambda: None

SLOT_BYTES = 0x10000
LAYOUT = [
    ("otadata", 1, 0, 0xD000, 0x2000),
    ("ota_0", 0, 0x10, 0x10000, SLOT_BYTES),
    ("ota_1", 0, 0x11, 0x20000, SLOT_BYTES),
]


def power_on(running="ota_0", image=None):
    """A small flash chip with `image` in the running slot and otadata as after a first boot; gives esp32.Partition."""
    table = b"".join(
        struct.pack("<HBBII16sI", 0x50AA, kind, subtype, address, size, label.encode(), 0)
        for label, kind, subtype, address, size in LAYOUT
    )
    memory = bytearray(b"\xff" * 0x30000)
    memory[0x8000 : 0x8000 + len(table)] = table
    start = 0x10000 if running == "ota_0" else 0x20000
    image = make_image(1) if image is None else image
    memory[start : start + len(image)] = image
    chip.power_on(flash.Flash(io.BytesIO(memory)), {"wifi": {}, "ds18x20": 21.5, "chip": 40.0}, running)
    otadata.write_record(chip.flash, 0xD000, 0, 1 if running == "ota_0" else 2, otadata.VALID)
    chip.flash.operations = 0
    return esp32.Partition


def reboot_into(label):
    """What the boot loader leaves when it starts `label` for its trial."""
    sequence, _, _ = otadata.read_records(chip.flash, 0xD000)[1]
    otadata.write_record(chip.flash, 0xD000, 1, sequence, otadata.PENDING_VERIFY)
    chip.running = label


def roll_back():
    """What the boot loader leaves when the trial in ota_1 has failed."""
    sequence, _, _ = otadata.read_records(chip.flash, 0xD000)[1]
    otadata.write_record(chip.flash, 0xD000, 1, sequence, otadata.ABORTED)
    chip.running = "ota_0"


def make_image(seed, size=9000, chip_id=0, segments=2, magic=0xABCD5432, hashed=1, secure=0, revision=0):
    """An app image for the virtual chip, small and valid unless asked otherwise; `seed` makes it one of its kind."""
    first = struct.pack("<II", magic, secure) + bytes([seed]) * 248
    second = bytes((at * 7 + seed) & 0xFF for at in range(size // 4 * 4))
    header = struct.pack("<BBBBI", 0xE9, segments, 2, 0x20, 0x40080000) + bytes(4)
    header += struct.pack("<HBHH", chip_id, 0, revision, 0xFFFF) + bytes(4) + bytes([hashed])
    body = header + struct.pack("<II", 0x3F400000, len(first)) + first
    body += struct.pack("<II", 0x400D0000, len(second)) + second
    checksum = 0xEF
    for byte in first + second:
        checksum ^= byte
    body += bytes(15 - len(body) % 16) + bytes([checksum])
    return body + hashlib.sha256(body).digest()


def as_string(image):
    return b'"' + binascii.b2a_base64(image).strip() + b'"'


class Reply:
    """A reply that gives its body in pieces of `piece` bytes."""

    def __init__(self, body, kind="application/json", piece=1000, bounded=True, length=True, broken_at=None):
        self.status_code = 200
        self.headers = {"content-type": kind}
        if length:
            self.headers["content-length"] = str(len(body))
        self.bounded = bounded
        self.closed = False
        self.body = body
        self._piece = piece
        self._given = 0
        self._broken_at = broken_at

    def readinto(self, view):
        if self._broken_at is not None and self._given >= self._broken_at:
            raise RetryableError("body_cut", "the answer broke off")
        part = self.body[: min(self._piece, len(view))]
        view[: len(part)] = part
        self.body = self.body[len(part) :]
        self._given += len(part)
        return len(part)

    def close(self):
        self.closed = True


class Api:
    """Gives one reply for every firmware asked for; `asked` counts."""

    def __init__(self, make_reply):
        self._make_reply = make_reply
        self.asked = 0

    def firmware(self, version_id, start=0, size_bytes=0, etag=None):
        self.asked += 1
        return self._make_reply()


class RangeServer:
    """A session with a server that offers ranges of `image` as `etag`; the first answer breaks off after `cut` bytes.
    `starts` is where the ranges asked for begin."""

    def __init__(self, image, etag='"one"', cut=None, ranges=None):
        self.image, self.etag, self.cut = image, etag, cut
        self.starts = []
        self._ranges = ranges or self._range

    def request(self, method, url, data=None, headers=None):
        wanted = headers.get("Range")
        start = int(wanted[6:-1]) if wanted else 0
        self.starts.append(start)
        reply = Reply(self.image, kind="application/octet-stream", broken_at=self.cut)
        self.cut = None
        reply.headers["etag"] = self.etag
        if wanted and headers["If-Range"] == self.etag:
            self._ranges(reply, start)
        return reply

    def _range(self, reply, start):
        reply.status_code = 206
        reply.body = self.image[start:]
        reply.headers["content-length"] = str(len(reply.body))
        reply.headers["content-range"] = f"bytes {start}-{len(self.image) - 1}/{len(self.image)}"


def raises(family, code, function, *args):
    """Call; the error must be of this family and code. Gives its sentence."""
    try:
        function(*args)
    except family as error:
        assert error.code == code, (error.code, str(error))
        return str(error)
    raise AssertionError("no " + code)

"""A small flash chip in memory, for tests and proofs that run the device's code in their own process."""

import io
import struct

import esp32

from tools.twin import flash, hardware, otadata
from tools.twin.image import make_image

SLOT_BYTES = 0x10000
LAYOUT = [
    ("otadata", 1, 0, 0xD000, 0x2000),
    ("ota_0", 0, 0x10, 0x10000, SLOT_BYTES),
    ("ota_1", 0, 0x11, 0x20000, SLOT_BYTES),
]


def power_on(running="ota_0", image=None):
    """Make a chip with `image` in the running slot and otadata as after a first boot; gives esp32.Partition."""
    table = b"".join(
        struct.pack("<HBBII16sI", 0x50AA, kind, subtype, address, size, label.encode(), 0)
        for label, kind, subtype, address, size in LAYOUT
    )
    memory = bytearray(b"\xff" * 0x30000)
    memory[0x8000 : 0x8000 + len(table)] = table
    start = 0x10000 if running == "ota_0" else 0x20000
    image = make_image(1) if image is None else image
    memory[start : start + len(image)] = image
    hardware.power_on(flash.Flash(io.BytesIO(memory)), {"wifi": {}, "ds18x20": 21.5, "chip": 40.0}, running)
    otadata.write_record(hardware.flash, 0xD000, 0, 1 if running == "ota_0" else 2, otadata.VALID)
    hardware.flash.operations = 0
    return esp32.Partition


def reboot_into(label):
    """Leave what the boot loader leaves when it starts `label` for its trial."""
    sequence, _, _ = otadata.read_records(hardware.flash, 0xD000)[1]
    otadata.write_record(hardware.flash, 0xD000, 1, sequence, otadata.PENDING_VERIFY)
    hardware.running = label


def roll_back():
    """Leave what the boot loader leaves when the trial in ota_1 has failed."""
    sequence, _, _ = otadata.read_records(hardware.flash, 0xD000)[1]
    otadata.write_record(hardware.flash, 0xD000, 1, sequence, otadata.ABORTED)
    hardware.running = "ota_0"

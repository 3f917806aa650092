"""A bundle that lies in a file, read by MicroPython's own VfsRom and by the device's two readers; for the VM."""

import json

import vfs
from esp32 import Partition
from ota.bundle_files import Bundle
from ota.slot import Slot

from host_tests.unit import boot
from tools.proof import scratch
from tools.twin.image import make_image
from tools.twin.small_chip import power_on


def compare():
    """All three must find in the scratch folder's `bundle` what its `paths.json` lists."""
    with open(scratch.base + "bundle", "rb") as file:
        content = file.read()
    with open(scratch.base + "paths.json") as file:
        paths = json.load(file)
    power_on(image=make_image(1, bundle=content))
    mounted = boot.start(scratch.folder())["mounted"]["/release"]
    checked = Bundle(Slot(Partition("ota_0")))
    rom = vfs.VfsRom(memoryview(content))
    for path, size_bytes in paths.items():
        expected = rom.open(path, "rb").read()
        assert len(expected) == size_bytes == checked.size_bytes(path) == mounted.stat(path)[6], path
        buffer = bytearray(size_bytes)
        if size_bytes:
            assert mounted.open(path, "rb").readinto(buffer) == size_bytes, path
        assert buffer == expected, path
        folder = path.rpartition("/")[0]
        assert not folder or rom.stat(folder)[0] == mounted.stat(folder)[0] == 0x4000, folder
    print(len(paths))

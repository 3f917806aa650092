"""A streaming updater as OTA libraries for MicroPython have them: a block writer behind a buffered writer, fed from the
response's socket, then a second pass that hashes what is on flash."""

import gc
import hashlib
import io

import machine
import requests
from esp32 import Partition
from target import DIGEST, HEADERS, URL

SECTOR_BYTES = 4096


class SlotWriter(io.IOBase):
    """Writes a stream into a partition, a sector at a time."""

    def __init__(self, partition):
        self.partition = partition
        self.size_bytes = partition.ioctl(4, 0) * partition.ioctl(5, 0)
        self.position = 0

    def write(self, data):
        if self.position + len(data) > self.size_bytes:
            raise ValueError("the firmware is larger than the slot")
        block, offset = divmod(self.position, SECTOR_BYTES)
        if offset == 0:
            self.partition.ioctl(6, block)
        self.partition.writeblocks(block, data, offset)
        self.position += len(data)
        return len(data)


class Updater:
    """Downloads a firmware into the next slot and starts it."""

    def __init__(self, url, headers, sha256, verbose=True):
        self.url = url
        self.headers = headers
        self.sha256 = sha256
        self.verbose = verbose
        self.partition = Partition(Partition.RUNNING).get_next_update()
        self.writer = SlotWriter(self.partition)

    def download(self):
        response = requests.get(self.url, headers=self.headers)
        if response.status_code != 200:
            raise ValueError(f"status {response.status_code}")
        buffered = io.BufferedWriter(self.writer, SECTOR_BYTES)
        buffer = bytearray(SECTOR_BYTES)
        view = memoryview(buffer)
        total = 0
        try:
            while True:
                count = response.raw.readinto(view)
                if not count:
                    break
                buffered.write(view[:count])
                total += count
                if self.verbose and total % 65536 == 0:
                    print("\rDownloaded", total // 1024, "KiB", end="")
            buffered.flush()
        finally:
            response.close()
        if self.verbose:
            print()
        return total

    def verify(self, size_bytes):
        buffer = bytearray(SECTOR_BYTES)
        view = memoryview(buffer)
        digest = hashlib.sha256()
        for at in range(0, size_bytes, SECTOR_BYTES):
            count = min(SECTOR_BYTES, size_bytes - at)
            self.partition.readblocks(at // SECTOR_BYTES, view[:count], 0)
            digest.update(view[:count])
        if digest.digest() != self.sha256:
            raise ValueError("the firmware on flash is not the one that was published")

    def update(self):
        gc.collect()
        self.verify(self.download())
        self.partition.set_boot()
        machine.reset()


Updater(URL, HEADERS, DIGEST).update()

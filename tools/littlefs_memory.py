"""littlefs on a piece of memory, by littlefs-python."""

from typing import Any

from littlefs import LittleFS, UserContext

BLOCK_BYTES = 4096


def littlefs(memory: bytearray, **limits: Any) -> LittleFS:
    """The file system that is in `memory`, or will be: not mounted yet. `limits` are littlefs's own."""
    # Given no context, it would make a list of as many numbers first.
    context = _Memory(buffer=memory)
    return LittleFS(context, mount=False, block_size=BLOCK_BYTES, block_count=len(memory) // BLOCK_BYTES, **limits)


class _Memory(UserContext):
    """As littlefs-python's own, which looks up a logger at each access, thousands of times for a file system."""

    def read(self, cfg, block, off, size):
        start = block * BLOCK_BYTES + off
        return self.buffer[start : start + size]

    def prog(self, cfg, block, off, data):
        start = block * BLOCK_BYTES + off
        self.buffer[start : start + len(data)] = data
        return 0

    def erase(self, cfg, block):
        start = block * BLOCK_BYTES
        self.buffer[start : start + BLOCK_BYTES] = b"\xff" * BLOCK_BYTES
        return 0

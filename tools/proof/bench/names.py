"""Which of the agent's names a board has in ROM, and the unix VM, on which all is measured, has not."""

from functools import cache

from tools import agent, firmware
from tools.twin.paths import DEVICE

_HEADER_BYTES = 4


@cache
def in_rom() -> list[str]:
    """The names in the compiled agent that stand in MicroPython's image for the ESP32, too: there they cost nothing."""
    rom = firmware.app_image("1.27.0")
    files = agent.compiled_files(device=DEVICE)
    names = {name for path, content in files.items() if path.endswith(".mpy") for name in _names(content)}
    return sorted(name for name in names if name.encode() + b"\0" in rom)


def _names(mpy: bytes) -> list[str]:
    """The names in a .mpy file (MicroPython, docs/reference/mpyfiles): their count, the objects', then each name."""
    at = _HEADER_BYTES

    def number() -> int:
        nonlocal at
        value = 0
        while True:
            byte = mpy[at]
            at += 1
            value = value << 7 | byte & 0x7F
            if not byte & 0x80:
                return value

    count, _ = number(), number()
    names = []
    for _ in range(count):
        length = number()
        if length & 1:  # one of those that every MicroPython has, by number
            continue
        names.append(mpy[at : at + length // 2].decode())
        at += length // 2 + 1
    return names

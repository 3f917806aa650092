"""How much of the Python heap an update takes on the chip, measured by a release whose runner of phases tells.

What is measured is what is alive: after a collection, when a phase has been loaded, when it ends, and in between at
some of its flash operations. What tells takes some 300 bytes itself; the shipped code has nothing of it.
"""

import re
from dataclasses import dataclass

from tools.proof.chip import releases

LIMIT_BYTES = 27 * 1024
"""Above an idle board, the budget on real firmware."""

_SHOWN_PHASES = 12
_FOUND = re.compile(r"heap (\d+) ([\w.]+)")
_NAMES = re.compile(r"n_qstr=(\d+), n_str_data_bytes=\d+, n_total_bytes=(\d+)")
IDLE = "idle"

_RUNNER = "/agent/runner.py"
_SLOT = "/ota/slot.py"
_SIGNATURE = "/ota/signature.py"

_NOTE = '''
def note(name):
    """Print what is alive."""
    gc.collect()
    print("heap", gc.mem_alloc(), name)
    if name == "agent.round":
        __import__("micropython").qstr_info()


'''
_CALL = "            result = getattr(__import__(module, None, None, (function,)), function)(*arguments)\n"
_NOTED_CALL = """            function = getattr(__import__(module, None, None, (function,)), function)
            note(module)
            result = function(*arguments)
            note(module)
"""
_DEFINITION = "def run(module: str, function: str, *arguments):\n"
_READ = "        self.partition.readblocks(at // SECTOR_BYTES, view, at % SECTOR_BYTES)\n"
_PROGRAM = "        self.partition.writeblocks(at // SECTOR_BYTES, view, at % SECTOR_BYTES)\n"
_AT_FLASH = "        if at % 65536 == 0:\n            note('ota.slot')\n"
_CONST_IMPORT = "from micropython import const\n"
_NOTE_IMPORT = "from agent.runner import note\n"
_MASKED = "    data[0] &= 0x7F"
_IDLE_BOOT = f"import gc\ngc.collect()\nprint('heap', gc.mem_alloc(), '{IDLE}')\n"


@dataclass(frozen=True)
class Report:
    """What was measured, in bytes of Python heap: an idle board's, and the most of each phase above it; in that, the
    names that MicroPython never forgets."""

    idle_bytes: int
    phases: dict[str, int]
    names: int
    name_bytes: int

    @property
    def peak_bytes(self) -> int:
        """The most that any phase had, above an idle board."""
        return max(self.phases.values())

    def lines(self) -> list[str]:
        """Return the figures, the highest first."""
        highest = sorted(self.phases.items(), key=lambda phase: -phase[1])
        shown = [f"heap {size:7,} bytes above an idle board: {name}" for name, size in highest[:_SHOWN_PHASES]]
        names = f"{self.names} names, never forgotten, take {self.name_bytes:,} bytes of it"
        return [f"an idle board has {self.idle_bytes:,} bytes of heap in use", *shown, names]


def sources() -> dict[str, str]:
    """Return the device's modules that tell, by path."""
    runner = releases.replaced(releases.source(_RUNNER), _CALL, _NOTED_CALL)
    slot, signature = releases.source(_SLOT), releases.source(_SIGNATURE)
    for operation in (_READ, _PROGRAM):
        slot = releases.replaced(slot, operation, operation + _AT_FLASH)
    signature = releases.replaced(signature, _MASKED, "    note('ota.signature')\n" + _MASKED)
    return {
        _RUNNER: releases.replaced(runner, _DEFINITION, _NOTE.lstrip("\n") + _DEFINITION),
        _SLOT: releases.replaced(slot, _CONST_IMPORT, _NOTE_IMPORT + _CONST_IMPORT),
        _SIGNATURE: releases.replaced(signature, _CONST_IMPORT, _NOTE_IMPORT + _CONST_IMPORT),
    }


def release(app: bytes, number: int) -> bytes:
    """Return a release that tells."""
    return releases.changed(app, number, sources())


def idle_files() -> dict[str, bytes]:
    """Return the files of a board without our code, which tells what it has in use."""
    return {"/boot.py": _IDLE_BOOT.encode(), "/main.py": b""}


def read_report(lines: list[str]) -> Report:
    """Return what the console's lines tell. ValueError when that is nothing."""
    text = "\n".join(lines)
    idle_bytes, most = 0, dict[str, int]()
    for found in _FOUND.finditer(text):
        size, name = int(found[1]), found[2]
        if name == IDLE:
            idle_bytes = max(idle_bytes, size)
        else:
            most[name] = max(most.get(name, 0), size)
    if not idle_bytes or not most:
        raise ValueError("the console shows no heap figures")
    names, name_bytes = max(((int(found[1]), int(found[2])) for found in _NAMES.finditer(text)), default=(0, 0))
    return Report(idle_bytes, {name: size - idle_bytes for name, size in most.items()}, names, name_bytes)

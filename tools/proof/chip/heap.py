"""How much of the Python heap an update takes on the chip, measured by a release whose runner of phases tells.

What is measured is what is alive: after a collection, when a phase has been loaded, when it ends, and in between at
some of its flash operations. The shipped code has nothing of this.
"""

import re
from dataclasses import dataclass

from tools import agent
from tools.proof.chip import releases

LIMIT_BYTES = 27_000
"""Above an idle board, the budget on real firmware."""

_SHOWN_PHASES = 12
_FOUND = re.compile(r"heap (\d+) ([\w.]+)")
_IDLE = "idle"

_RUNNER = "/agent/runner.py"
_SLOT = "/ota/slot.py"
_SIGNATURE = "/ota/signature.py"

_NOTE = '''
_phases = ["main"]
_most = {}


def note():
    """Print what is alive, when it is more than this phase has had before."""
    gc.collect()
    size = gc.mem_alloc()
    name = _phases[-1]
    if size > _most.get(name, 0):
        _most[name] = size
        print("heap", size, name)


'''
_CALL = "            result = getattr(__import__(module, None, None, (function,)), function)(*arguments)\n"
_NOTED_CALL = """            _phases.append(module)
            function = getattr(__import__(module, None, None, (function,)), function)
            note()
            result = function(*arguments)
            note()
"""
_FINALLY = "        finally:\n"
_DEFINITION = "def run(module: str, function: str, *arguments):\n"
_READ = "        self.partition.readblocks(at // SECTOR_BYTES, view, at % SECTOR_BYTES)\n"
_PROGRAM = "        self.partition.writeblocks(at // SECTOR_BYTES, view, at % SECTOR_BYTES)\n"
_EVERY = "        if at % 65536 < 64:\n            note()\n"
_CONST_IMPORT = "from micropython import const\n"
_NOTE_IMPORT = "from agent.runner import note\n"
_MASKED = "    data[0] &= 0x7F"
_LATER_BOOT = "/boot_py.txt"
_BOOT = f"""import gc
gc.collect()
print("heap", gc.mem_alloc(), "{_IDLE}")
exec(open("{_LATER_BOOT}").read())
"""


@dataclass(frozen=True)
class Report:
    """What was measured, in bytes of Python heap: an idle board's, and the most of each phase above it."""

    idle_bytes: int
    phases: dict[str, int]

    @property
    def peak_bytes(self) -> int:
        """The most that any phase had, above an idle board."""
        return max(self.phases.values())

    def lines(self) -> list[str]:
        """Return the figures, the highest first."""
        highest = sorted(self.phases.items(), key=lambda phase: -phase[1])
        shown = [f"heap {size:7,} bytes above an idle board: {name}" for name, size in highest[:_SHOWN_PHASES]]
        return [f"an idle board has {self.idle_bytes:,} bytes of heap in use", *shown]


def sources() -> dict[str, str]:
    """Return the device's modules that tell, by path."""
    runner = releases.replaced(releases.source(_RUNNER), _CALL, _NOTED_CALL)
    runner = releases.replaced(runner, _FINALLY, _FINALLY + "            _phases.pop()\n")
    slot = releases.source(_SLOT)
    for operation in (_READ, _PROGRAM):
        slot = releases.replaced(slot, operation, operation + _EVERY)
    signature = releases.source(_SIGNATURE)
    return {
        _RUNNER: releases.replaced(runner, _DEFINITION, _NOTE.lstrip("\n") + _DEFINITION),
        _SLOT: releases.replaced(slot, _CONST_IMPORT, _NOTE_IMPORT + _CONST_IMPORT),
        _SIGNATURE: releases.replaced(
            releases.replaced(signature, _MASKED, "    note()\n" + _MASKED),
            _CONST_IMPORT,
            _NOTE_IMPORT + _CONST_IMPORT,
        ),
    }


def release(app: bytes, number: int) -> bytes:
    """Return a release that tells."""
    return releases.changed(app, number, sources())


def files() -> dict[str, bytes]:
    """Return the board's files: before boot.py is compiled, the idle board's heap is told."""
    return {"/boot.py": _BOOT.encode(), _LATER_BOOT: agent.board_files()["/boot.py"]}


def read_report(lines: list[str]) -> Report:
    """Return what the console's lines tell. ValueError when that is nothing."""
    idle_bytes, most = 0, dict[str, int]()
    for found in _FOUND.finditer("\n".join(lines)):
        size, name = int(found[1]), found[2]
        if name == _IDLE:
            idle_bytes = max(idle_bytes, size)
        else:
            most[name] = max(most.get(name, 0), size)
    if not idle_bytes or not most:
        raise ValueError("the console shows no heap figures")
    return Report(idle_bytes, {name: size - idle_bytes for name, size in most.items()})

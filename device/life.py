"""The device's life: a round of the agent, then measuring until the next one. Each is in memory only for its time."""

import gc
import sys

import board
from micropython import const

_RESTART_MS = const(60000)
# For modules of its own MicroPython searches the file system as well, at each import, unless it finds them here.
_OFTEN_IMPORTED = ("binascii", "json", "os", "struct", "time")


def live(agent: str) -> None:
    """Have the agent, a module with `keep_in_step`, keep the firmware in step, then let the thermometer measure until
    the agent's next round, and so on for ever."""
    failures = unsaved = None
    while True:
        try:
            for name in _OFTEN_IMPORTED:
                sys.modules[name] = __import__(name)
            failures, pause_s, unsaved = _round(agent, failures, unsaved)
            _leave(agent)
            __import__("thermometer").run(pause_s, unsaved, failures > 0)
        except Exception as error:  # no memory, a damaged file: a fresh start mends more than staying here would
            print(f"{error} [{type(error).__name__}]; the board restarts in a minute")
            board.wait(_RESTART_MS)
            board.reset()
        _leave("thermometer")


def _round(agent: str, failures: "int | None", unsaved: "dict | None") -> tuple:
    # A function of its own: what a caller's stack still points at would not be collected.
    return __import__(agent).keep_in_step(failures, unsaved)


def _leave(program: str) -> None:
    for name in list(sys.modules):
        if name == program or name.startswith("gadgetkeeper"):
            del sys.modules[name]
    gc.collect()

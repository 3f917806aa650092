"""The device's life: a round of the agent, then the product until the next one, for ever."""

import sys

from micropython import const

from . import errors  # noqa: F401  stays loaded: an error that one phase raises is judged in another
from .console import Console
from .device import Device
from .runner import run

_RESTART_MS = const(60000)
# MicroPython looks for its own modules on the file system as well, at each import, unless it finds them here.
_OFTEN_IMPORTED = const(("binascii", "json", "os", "struct", "time"))


def live(board, console=None, root: str = "/") -> None:
    """Keep the firmware in step and let the product run in between. Does not return."""
    device = Device(board, console or Console(), root)
    for name in _OFTEN_IMPORTED:
        sys.modules[name] = __import__(name)
    while True:
        try:
            wait_s = keep_in_step(device)
            run(device.settings.app, "run", device, wait_s)
            board.note_health()
        except Exception as error:  # no memory, a damaged file: a fresh start mends more than staying here would
            device.console.say(f"{error} [{type(error).__name__}]; the board restarts in a minute")
            board.wait(_RESTART_MS)
            board.restart()


def keep_in_step(device) -> int:
    """Go through the scenario once, after the owner's setup if it has to be, and return the seconds until the next
    round. Whatever fails is printed."""
    try:
        if run("agent.round", "prepare", device):
            run("setup.portal", "set_up", device)
        run("main", "provision", device)
        return run("agent.round", "succeed", device)
    except Exception as error:  # the outer edge: whatever it is, the thermometer runs
        return run("agent.round", "fail", device, error)
    finally:
        device.link.close()

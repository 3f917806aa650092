"""What the board's UART has to know of a program that reads its console."""

import micropython  # type: ignore[import-not-found]

from tools.twin import hardware


class _Module:
    """Takes a module's place: MicroPython's own cannot be changed."""


def micropython_at_terminal():
    """Return a module `micropython` whose `kbd_intr` tells the UART: it then gives Ctrl-C to the program as a byte."""
    module = _Module()
    for name in dir(micropython):
        setattr(module, name, getattr(micropython, name))
    module.kbd_intr = lambda char: hardware.tell("kbd_intr " + str(char))  # type: ignore[attr-defined]
    return module

"""`thermometer`: everything a desk does with the thermometer, as one command.

It takes the same words as `make`, and changes none of them on their way: make expands `$`, and drops spaces at the
beginning of a value. The make targets call it.
"""

import importlib
import sys
from dataclasses import dataclass

from tools.arguments import failed

_PROGRAM = "thermometer"


@dataclass(frozen=True)
class _Command:
    """A command: the module whose `main` carries it out, the words that stand before the user's, what it is for."""

    module: str
    words: tuple[str, ...]
    purpose: str


_COMMANDS = {
    "factory": _Command("tools.factory.__main__", ("factory",), "make one thermometer's flash image"),
    "batch": _Command("tools.factory.__main__", ("batch",), "register serial numbers, make an image for each, labels"),
    "flash": _Command("tools.factory.__main__", ("flash",), "write a flash image to a board"),
    "flash-batch": _Command("tools.factory.__main__", ("flash-batch",), "write a batch's next image to a board"),
    "release": _Command("tools.factory.__main__", ("release",), "free the serial number of a lost board"),
    "publish": _Command("tools.publish", (), "publish a firmware"),
    "deploy": _Command("tools.deploy.__main__", ("deploy",), "put the agent onto a board that runs MicroPython"),
    "status": _Command("tools.deploy.__main__", ("status",), "say how a board is"),
    "console": _Command("tools.deploy.__main__", ("console",), "show a board's console"),
    "wifi": _Command("tools.owner.wifi", (), "give a board in its setup a WiFi network, over the cable"),
    "installer": _Command("tools.owner.installer", (), "make a web page that flashes a board and gives it its WiFi"),
    "twin": _Command("tools.twin.__main__", (), "power on a virtual thermometer"),
    "twin-repl": _Command("tools.twin.repl", (), "a virtual board with a console"),
    "demo": _Command("tools.demo", (), "the whole scenario, from power-on to confirmed"),
    "server": _Command("tools.server.cli", (), "the GadgetKeeper server and the vendor's calls"),
}


def main(arguments: list[str] | None = None) -> int:
    """Carry out a command. 0: done, 1: it failed, 2: wrong arguments."""
    words = sys.argv[1:] if arguments is None else arguments
    if not words or words[0] in ("-h", "--help"):
        print(_help(), file=sys.stdout if words else sys.stderr)
        return 0 if words else 2
    command = _COMMANDS.get(words[0])
    if command is None:
        return failed(_PROGRAM, f"there is no command {words[0]!r}; there are {', '.join(_COMMANDS)}", 2)
    try:
        return importlib.import_module(command.module).main([*command.words, *words[1:]])
    except KeyboardInterrupt:
        return failed(_PROGRAM, "interrupted", 1)


def _help() -> str:
    lines = [f"usage: {_PROGRAM} COMMAND …    ({_PROGRAM} COMMAND --help says more)", ""]
    return "\n".join(lines + [f"  {name:12} {command.purpose}" for name, command in _COMMANDS.items()])


if __name__ == "__main__":
    sys.exit(main())

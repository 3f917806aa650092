"""The board's ports on the desk: where it listens, other programs or the system may be in the way.

The world's "ports" says for a port of the board which port of this computer takes its place, {"80": 8090}; any free one
for those that are not named. They listen on this computer alone.
"""

import socket
import sys

from tools.twin import hardware

_ANY = "0.0.0.0"


class _Module:
    """Takes a module's place: MicroPython's own cannot be changed."""


def on_desk():
    """Return a module `socket` that looks up the desk's ports."""
    module = _Module()
    for name in dir(socket):
        setattr(module, name, getattr(socket, name))

    def getaddrinfo(host, port, *others):
        if host == _ANY:
            host, port = "127.0.0.1", hardware.world.get("ports", {}).get(str(port), 0)
        return socket.getaddrinfo(host, port, *others)

    module.getaddrinfo = getaddrinfo  # type: ignore[attr-defined]
    return module


def install():
    """From now on have `import socket` give that one."""
    sys.modules["socket"] = on_desk()  # type: ignore[assignment]

"""A board's console in this terminal: mpremote's, for URLs as well."""

import argparse
import select
import sys

from mpremote import repl
from mpremote.console import Console
from mpremote.main import State
from mpremote.transport import TransportError
from mpremote.transport_serial import SerialTransport

from .port import BoardError, open_serial, refusal, resolve

_POLL_S = 0.02
_CTRL_C = b"\x03"
_STOP = b"\r\x03"


class _Console(Console):
    """mpremote's console, but one Ctrl-C is enough to stop a thermometer, which heeds none that comes alone: it might
    be a disturbed line. And mpremote's waits for a file descriptor, which a port behind a URL has not."""

    def readchar(self):
        char = super().readchar()
        return _STOP if char == _CTRL_C else char

    def waitchar(self, serial) -> None:
        if hasattr(serial, "fd") or not hasattr(self, "infd"):
            super().waitchar(serial)
            return
        while not serial.in_waiting and not select.select([self.infd], [], [], _POLL_S)[0]:
            pass


def console(port: str) -> None:
    """Connect terminal and board until Ctrl-] is typed or the board goes away; BoardError in the latter case."""
    device = resolve(port)
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise BoardError("the console needs a terminal to type into")
    state = State()
    try:
        state.transport = SerialTransport(device)
    except (TransportError, OSError, ValueError) as error:
        open_serial(device, _POLL_S).close()
        raise BoardError(refusal(device, error)) from None
    repl.Console = _Console
    print("Ctrl-C stops the thermometer for an hour at most, Ctrl-D starts it again", flush=True)
    try:
        gone = repl.do_repl(
            state, argparse.Namespace(escape_non_printable=False, capture=None, inject_code=None, inject_file=None)
        )
    except OSError as error:
        raise BoardError(f"the board at {port} is gone ({error})") from None
    finally:
        state.transport.close()
    if gone:
        raise BoardError(f"the board at {port} is gone: was it unplugged?")

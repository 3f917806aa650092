"""A board's raw REPL, through mpremote's or ampy's own code: runs snippets of MicroPython on it."""

import contextlib
import io
import json
import struct
import time
from pathlib import Path

from ampy import pyboard
from mpremote.transport import TransportError
from mpremote.transport_serial import SerialTransport

from .port import BoardError, open_serial, refusal, resolve

TOOLS = ("mpremote", "ampy")
SNIPPETS = Path(__file__).resolve().parent / "on_board"

_QUIET_S = 0.2
_ANSWER_S = 30  # a snippet is silent for at most so long
_SOFT_RESET_S = 3
_BOOT_LOADER = {
    b"waiting for download": "the board waits in download mode: let go of BOOT, press its reset button (EN), try again",
    b"invalid header": "there is no firmware on the board: make factory and make flash give it one",
}
_BROKEN = (TransportError, OSError, struct.error)


class Board:
    """The board at `port`, its program interrupted. `wait_s` is how long it may take to answer. BoardError whenever
    something is wrong; close it in any case."""

    def __init__(self, port: str, tool: str = "mpremote", wait_s: float = 10, soft_reset: bool = True) -> None:
        self.port = port
        device = resolve(port)
        self._link = (_Mpremote if tool == "mpremote" else _Ampy)(device, wait_s)
        try:
            self._enter(wait_s, soft_reset)
        except BaseException:
            self._link.serial.close()
            raise

    def run(self, code: str, **values: object) -> str:
        """What this code prints on the board; `values` are its global names. BoardError with what it raises."""
        with self._unbroken():
            output, error = self._link.run("".join(f"{name}={value!r}\n" for name, value in values.items()) + code)
        if error:
            raise BoardError(f"the board says: {_last_line(error)}")
        return output.decode(errors="replace")

    def ask(self, snippet: str, **values: object):
        """What the snippet of this name prints as JSON."""
        answer = self.run((SNIPPETS / f"{snippet}.py").read_text(), **values)
        try:
            return json.loads(answer.strip().splitlines()[-1])
        except (ValueError, IndexError):
            raise BoardError(f"the answer of the board at {self.port} arrived damaged: try again") from None

    def reset(self) -> None:
        """Restart the chip, through its boot loader."""
        with self._unbroken():
            # Later, so that the answer to this snippet still gets out.
            self._link.start("import time,machine\ntime.sleep_ms(100)\nmachine.reset()")
            time.sleep(_QUIET_S)

    def restart(self) -> None:
        """Start the board's program again without a reset of the chip: a firmware's trial goes on."""
        with self._unbroken():
            self._link.serial.write(b"\r\x03\x02")
            self._hear(1, b">>> ")
            self._link.serial.write(b"\x04")
            self._hear(3, b"soft reboot")

    def close(self) -> None:
        """Give the port back; safe to call twice."""
        with contextlib.suppress(OSError):
            self._link.close()

    def __enter__(self) -> "Board":
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def _enter(self, wait_s: float, soft_reset: bool) -> None:
        with self._unbroken(self._stuck()):
            # Ends a program, a raw paste and a raw REPL; whatever it was, the REPL greets.
            self._link.serial.write(b"\r\x03\x03\x02")
            heard = self._hear(wait_s, b">>> ")
            for sign, sentence in _BOOT_LOADER.items():
                if sign in heard:
                    raise BoardError(sentence)
            if not heard:
                raise BoardError(
                    f"nothing answers at {self.port}: is it the board's port, does it run MicroPython (make flash), "
                    "and is no other program connected to it?"
                )
            # The tools wait longer for it, up to a minute.
            self._link.serial.write(b"\r\x01")
            if not self._hear(wait_s, b"raw REPL; CTRL-B to exit\r\n>").endswith(b">"):
                raise BoardError(self._stuck())
            with contextlib.redirect_stdout(io.StringIO()):  # the tools print what they did not expect
                if soft_reset:
                    with contextlib.suppress(TransportError):
                        self._link.enter(True, _SOFT_RESET_S)
                        return
                # Without one: a boot.py that hangs would do so again.
                self._link.enter(False, wait_s)

    def _hear(self, wait_s: float, ending: bytes) -> bytes:
        """What arrives until `ending`, within `wait_s`."""
        port = self._link.serial
        heard = b""
        end = time.monotonic() + wait_s
        while not heard.endswith(ending) and time.monotonic() < end:
            waiting = port.in_waiting
            if waiting:
                heard += port.read(waiting)
            else:
                time.sleep(0.01)
        return heard

    @contextlib.contextmanager
    def _unbroken(self, sentence: str | None = None):
        try:
            yield
        except (*_BROKEN, pyboard.PyboardError) as error:
            if isinstance(error, OSError) or sentence is None:
                reason = " ".join(str(error).split()) or type(error).__name__
                sentence = f"the connection to the board at {self.port} broke ({reason}): try again"
            raise BoardError(sentence) from None

    def _stuck(self) -> str:
        return (
            f"the board at {self.port} answers, but does not give its REPL: press its reset button (EN) and try again; "
            "if that does not help, flash it anew (make flash)"
        )


class _Mpremote:
    """mpremote's transport."""

    def __init__(self, device: str, wait_s: float) -> None:
        try:
            self._transport = SerialTransport(device, timeout=_ANSWER_S)
        except (TransportError, OSError, ValueError) as error:
            # The transport does not say why.
            open_serial(device, wait_s).close()
            raise BoardError(refusal(device, error)) from None
        self.serial = self._transport.serial

    def enter(self, soft_reset: bool, wait_s: float) -> None:
        self._transport.enter_raw_repl(soft_reset, timeout_overall=wait_s)

    def run(self, code: str) -> tuple[bytes, bytes]:
        return self._transport.exec_raw(code, timeout=_ANSWER_S)

    def start(self, code: str) -> None:
        self._transport.exec_raw_no_follow(code)

    def close(self) -> None:
        if self.serial.is_open:
            with contextlib.suppress(OSError):
                self._transport.exit_raw_repl()
            self._transport.close()


class _Ampy:
    """ampy's Pyboard, on a port that may be a URL as well."""

    def __init__(self, device: str, wait_s: float) -> None:
        self.serial = open_serial(device, _ANSWER_S)
        pyboard._rawdelay = 0
        self._pyboard = pyboard.Pyboard.__new__(pyboard.Pyboard)
        self._pyboard.serial = self.serial

    def enter(self, soft_reset: bool, wait_s: float) -> None:
        self._pyboard.enter_raw_repl()  # always with a soft reset

    def run(self, code: str) -> tuple[bytes, bytes]:
        return self._pyboard.exec_raw(code, timeout=_ANSWER_S)

    def start(self, code: str) -> None:
        self._pyboard.exec_raw_no_follow(code)

    def close(self) -> None:
        if self.serial.is_open:
            with contextlib.suppress(OSError):
                self._pyboard.exit_raw_repl()
            self._pyboard.close()


def _last_line(error: bytes) -> str:
    return (error.decode(errors="replace").strip().splitlines() or ["an error without a text"])[-1]

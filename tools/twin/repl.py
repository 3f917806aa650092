"""`python -m tools.twin.repl`: a virtual board whose console listens, for mpremote, ampy, `make deploy` and people.

The console is the REPL of the MicroPython VM itself, raw REPL and raw paste included. This program is the board's UART:
it carries bytes between the VM's terminal and one client at a time, on a TCP port or a pseudo-terminal, and starts the
VM anew after a reset, which the VM takes for the end of its process.
"""

import argparse
import contextlib
import errno
import fcntl
import os
import pty
import re
import select
import signal
import socket
import subprocess
import sys
import termios
import threading
import time
import tty
from pathlib import Path
from typing import Any

from tools import factory, firmware
from tools.arguments import failed, file_name
from tools.factory.files import write_whole
from tools.locks import InUseError
from tools.twin import bootloader
from tools.twin.__main__ import check_size, for_itself
from tools.twin.device import HEAP, STARTERS, Twin, TwinError
from tools.twin.paths import VM

_CTRL_A, _CTRL_B, _CTRL_C = b"\x01", b"\x02", b"\x03"
_PACKET = b"IMPROV\x01"  # the beginning of what a board in its setup says to programs
_CHUNK_BYTES = 4096
_POLL_S = 0.005
_IDLE_S = 0.05
_INTERRUPT_PAUSE_S = 0.1
_INTERRUPT_BUSY_S = 1.0
_KEYS_PAUSE_S = 0.1
_UART_BYTES_PER_S = 11520  # 115200 baud: a program that prints for ever must not run ahead of who listens


class Repl:
    """A board with the flash of `twin`, its console at `url` (socket://...) and `path` (a pseudo-terminal)."""

    def __init__(self, twin: Twin, port: int = 0) -> None:
        self._twin = twin
        self._listener = socket.create_server(("127.0.0.1", port))
        self.url = "socket://{}:{}".format(*self._listener.getsockname())
        self._uart, slave = pty.openpty()
        tty.setraw(slave)
        self.path = os.ttyname(slave)
        os.close(slave)
        os.set_blocking(self._uart, False)
        self._client: socket.socket | None = None
        self._stopped = threading.Event()
        self._vm: Any = None  # the `_Vm` of the last reset; none before `serve`
        self._raw = False
        self._pending = b""  # from the client, not yet with the VM
        self._asked_at: float | None = None  # when Ctrl-C came that a program has not had yet
        self._last_sent = b""
        self._sent_at = 0.0  # when what has been sent so far is through
        self._label = ""

    def serve(self) -> None:
        """Power on and carry bytes until `stop`."""
        try:
            self._hard_reset("power-on")
            while not self._stopped.is_set():
                self._step()
        finally:
            if self._vm:
                self._vm.kill()
            self._hang_up()
            self._listener.close()
            os.close(self._uart)

    def stop(self) -> None:
        """Cut the power; `serve` returns."""
        self._stopped.set()

    def _step(self) -> None:
        vm = self._vm
        sending_s = self._sent_at - time.monotonic()
        inputs = [vm.control, self._client or self._listener]
        if sending_s <= 0:
            inputs.append(vm.terminal)
        if _is_open(self._uart):
            inputs.append(self._uart)
        wait_s = min(_IDLE_S, max(vm.watchdog - time.monotonic(), 0))
        if self._pending or sending_s > 0:
            wait_s = _POLL_S
        ready = select.select(inputs, [], [], wait_s)[0]
        if self._listener in ready:
            self._client = self._listener.accept()[0]
            self._client.setblocking(False)
            self._client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        elif self._client in ready:
            self._receive()
        if self._uart in ready:
            with contextlib.suppress(OSError):
                self._pending += os.read(self._uart, _CHUNK_BYTES)
        self._type()
        if vm.terminal in ready:
            data = vm.read()
            self._sent_at = time.monotonic() + len(data) / _UART_BYTES_PER_S
            self._send(data)
        if vm.control in ready:
            self._obey(vm.news())
        elif time.monotonic() >= vm.watchdog:
            self._hard_reset("watchdog")

    def _obey(self, news: list[str] | None) -> None:
        """Do what the VM asks its power supply for; None when its process has ended."""
        if news is None:
            interrupted = self._vm.ended_by() == -signal.SIGINT  # Ctrl-C found it between a program and the REPL
            self._soft_reset("raw" if self._raw or interrupted else "friendly")
            return
        for line in news:
            word, _, rest = line.partition(" ")
            if word == "ready":
                self._vm.is_ready = True
            elif word == "watchdog":
                self._vm.watchdog = time.monotonic() + int(rest) / 1000
            elif word == "rtc_memory":
                self._twin._rtc_memory = rest
            elif word == "interrupt":
                self._vm.takes_keys = int(rest) < 0
            elif line == "reset soft reset":
                self._soft_reset("raw" if self._raw else "friendly")
                return
            elif word == "reset":
                self._hard_reset(rest)
                return

    def _hard_reset(self, cause: str) -> None:
        self._end()
        with self._twin._flash() as flash:
            try:
                self._label, why = bootloader.start(flash)
            except bootloader.NothingToBoot as error:
                raise TwinError(f"{self._twin.flash_path}: {error}") from None
        self._send(f"-- {cause}: the boot loader starts {self._label} ({why})\n".encode())
        self._raw = False
        self._pending = b""
        self._vm = _Vm(self._twin, self._label, cause, "friendly")

    def _soft_reset(self, mode: str) -> None:
        watchdog = self._vm.watchdog  # it is hardware, and goes on
        self._end()
        self._send(b"MPY: soft reboot\n")
        self._vm = _Vm(self._twin, self._label, "soft reset", mode)
        self._vm.watchdog = watchdog
        if mode == "raw":
            self._raw = True
            self._pending = _CTRL_A + self._pending

    def _end(self) -> None:
        if self._vm:
            self._vm.kill()
            while data := self._vm.read():
                self._send(data)
            self._vm.close()

    def _receive(self) -> None:
        assert self._client
        try:
            data = self._client.recv(_CHUNK_BYTES)
        except OSError:
            data = b""
        if data:
            self._pending += data
        else:
            self._hang_up()

    def _hang_up(self) -> None:
        if self._client:
            self._client.close()
            self._client = None

    def _type(self) -> None:
        """Give the VM what it can take now: a program Ctrl-C; one that reads keys, and the REPL, everything."""
        vm = self._vm
        if not self._pending or not vm.is_ready:
            return
        if vm.runs_program() and vm.takes_keys:
            if vm.has_read():
                keys, ctrl_c, _ = self._pending.partition(_CTRL_C)  # what comes after it may be for the REPL
                self._pending = self._pending[vm.write(keys + ctrl_c) :]
            return
        if vm.runs_program():
            if _CTRL_C in self._pending:
                self._interrupt()
            return
        self._asked_at = None
        count = vm.write(self._pending)
        for byte in re.findall(b"[\x01\x02]", self._pending[:count]):
            self._raw = byte == _CTRL_A
        self._pending = self._pending[count:]

    def _interrupt(self) -> None:
        """Ctrl-C for a program. This VM's own Ctrl-C jumps out of wherever it is, and out of the middle of its memory
        management it hangs: so it is given while the program waits for something, unless that takes too long."""
        now = time.monotonic()
        self._asked_at = self._asked_at or now
        waited_s = now - self._asked_at
        if waited_s >= _INTERRUPT_BUSY_S or (waited_s >= _INTERRUPT_PAUSE_S and self._vm.waits()):
            self._pending = self._pending.partition(_CTRL_C)[2]
            self._asked_at = None
            self._vm.interrupt()

    def _send(self, data: bytes) -> None:
        """To whoever listens, with a board's line ends; what nobody hears is lost, as on a wire."""
        if not data:
            return
        whole = b"\r" if self._last_sent == b"\r" else b""
        self._last_sent = data[-1:]
        if _PACKET not in data:  # that is bytes, not text
            data = re.sub(rb"(?<!\r)\n", b"\r\n", whole + data)[len(whole) :]
        if self._client:
            try:
                self._client.setblocking(True)
                self._client.sendall(data)
                self._client.setblocking(False)
            except OSError:
                self._hang_up()
        if _is_open(self._uart):
            view = memoryview(data)
            while view and _is_open(self._uart) and not self._stopped.is_set():
                if select.select([], [self._uart], [], _IDLE_S)[1]:
                    with contextlib.suppress(BlockingIOError):
                        view = view[os.write(self._uart, view) :]


class _Vm:
    """One run of the MicroPython VM, from a reset to the next."""

    def __init__(self, twin: Twin, label: str, cause: str, mode: str) -> None:
        self.is_ready = False
        self.takes_keys = False  # the program has asked for Ctrl-C as a byte like any other
        self.watchdog = float("inf")
        self._news = b""
        self._read_at = 0.0  # when the program was seen last with keys that it had not read
        self.terminal, self._slave = pty.openpty()
        # A program gets bytes as they are, and no echo. ISIG, which the REPL switches off, tells who is listening.
        tty.setraw(self._slave)
        attributes = termios.tcgetattr(self._slave)
        attributes[3] |= termios.ISIG
        attributes[6][termios.VINTR] = b"\0"
        termios.tcsetattr(self._slave, termios.TCSANOW, attributes)
        os.set_blocking(self.terminal, False)
        self.control, control_end = os.pipe()
        self._process = subprocess.Popen(
            [str(VM), "-X", f"heapsize={HEAP}", "-i", str(STARTERS / "vm_main.py")],
            env=twin._environment(control_end, label, cause, repl=mode),
            stdin=self._slave,
            stdout=self._slave,
            stderr=self._slave,
            pass_fds=[control_end],
            start_new_session=True,
        )
        os.close(control_end)

    def runs_program(self) -> bool:
        """False while the REPL waits for input."""
        return bool(termios.tcgetattr(self._slave)[3] & termios.ISIG)

    def waits(self) -> bool:
        """True while the process is in a system call that takes time; True as well where that cannot be seen."""
        try:
            return Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(") ")[2][:1] == "S"
        except OSError:
            return True

    def interrupt(self) -> None:
        self._process.send_signal(signal.SIGINT)

    def read(self) -> bytes:
        """What the VM has said, a part of it if it is much."""
        try:
            return os.read(self.terminal, _CHUNK_BYTES)
        except OSError:
            return b""

    def write(self, data: bytes) -> int:
        self._read_at = time.monotonic()
        try:
            return os.write(self.terminal, data)
        except BlockingIOError:
            return 0

    def has_read(self) -> bool:
        """True when the program has read all keys, and had a moment to do what they mean."""
        unread = fcntl.ioctl(self._slave, termios.FIONREAD, bytes(4))
        now = time.monotonic()
        self._read_at = now if any(unread) else self._read_at
        return now - self._read_at >= _KEYS_PAUSE_S

    def news(self) -> list[str] | None:
        """Lines for the power supply; None at the process' end."""
        data = os.read(self.control, _CHUNK_BYTES)
        if not data:
            return None
        *lines, self._news = (self._news + data).split(b"\n")
        return [line.decode() for line in lines]

    def ended_by(self) -> int:
        return self._process.wait()

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def close(self) -> None:
        for fd in (self.terminal, self._slave, self.control):
            os.close(fd)


def _is_open(uart: int) -> bool:
    """True while somebody has the pseudo-terminal's other end open."""
    poll = select.poll()
    poll.register(uart, select.POLLIN)
    return not any(event & select.POLLHUP for _, event in poll.poll(0))


@contextlib.contextmanager
def running(twin: Twin, port: int = 0):
    """A `Repl` that serves in the background."""
    repl = Repl(twin, port)
    thread = threading.Thread(target=repl.serve, daemon=True)
    thread.start()
    try:
        yield repl
    finally:
        repl.stop()
        thread.join()


def main(arguments: list[str] | None = None) -> int:
    """Run a board with a console until it is told to end. 0, or 1: the system refused, 2: it cannot be powered on; both
    with one line on standard error."""
    options = _parse(arguments)
    try:
        check_size(options.flash)
        with for_itself(options.flash):
            _serve(options)
    except (TwinError, InUseError, factory.FactoryError, firmware.FirmwareError) as error:
        return failed("twin", error, 2)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            return failed("twin", f"port {options.port} is in use by another program: another one, PORT=…", 1)
        return failed("twin", error, 1)
    except KeyboardInterrupt:
        return failed("twin", "interrupted", 1)
    return 0


def _plain_board() -> bytes:
    """The flash of a board that runs a plain MicroPython, with room for the agent as files."""
    return factory.flash_image(firmware.combined_image("1.27.0"), {}, partitions=factory.FORMER_LAYOUT)


def _serve(options: argparse.Namespace) -> None:
    if not options.flash.exists():
        write_whole(options.flash, _plain_board())
        print(f"-- {options.flash}: a new board without the agent")
    repl = Repl(Twin(options.flash), options.port)
    print(f"-- console at {repl.url} and {repl.path}; Ctrl-C here cuts the power", flush=True)
    signal.signal(signal.SIGTERM, lambda *_: repl.stop())
    signal.signal(signal.SIGINT, lambda *_: repl.stop())
    repl.serve()


class _Parser(argparse.ArgumentParser):
    def error(self, message: str):
        self.exit(failed("twin", message, 2))


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = _Parser(prog="thermometer twin-repl", description=__doc__, allow_abbrev=False)
    parser.add_argument("--flash", required=True, type=_file, help="the board's flash; made when it is not there yet")
    parser.add_argument("--port", type=_port, default=0, help="TCP port of the console (default: any free one)")
    return parser.parse_args(arguments)


def _file(text: str) -> Path:
    if not text or file_name(text).is_dir():
        raise argparse.ArgumentTypeError(f"{text!r} is no file name like build/board.bin (FLASH=...)")
    return Path(text)


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is no TCP port like 4000 (PORT=...)")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())

"""Power for a virtual ESP32: starts its program, listens to it, and ends it when it resets or hangs.

The program is a process of its own, so that a reset really loses everything but the flash file. Between two programs
the boot loader decides what runs, as on the chip.
"""

import contextlib
import hashlib
import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tools.twin import bootloader, otadata, partitions
from tools.twin.files import read_files
from tools.twin.flash import Flash
from tools.twin.paths import VM

STARTERS = Path(__file__).resolve().parent

RUNTIMES = ("vm", "cpython")
HEAP = "160wK"
"""Python heap of the VM: 160 K machine words hold what an ESP32's 164 KB do, whose words are half as long."""

WORLD: dict[str, Any] = {"wifi": {"twin": "twin-password"}, "ds18x20": 21.5, "chip": 40.0, "firmware": {}}
"""The world around the chip. "firmware" says how images behave: {SHA-256: {"size_bytes": ..., "does": ...}}, "hang",
"crash" or "offline". The machine code in the slots is never executed; every image not named here runs the agent."""


TRIAL_SPEED = 1
"""How much faster than the clock the watchdog's time runs in a trial."""


class TwinError(Exception):
    """A twin that cannot be powered on; the text says why."""


@dataclass
class Result:
    """How a time of power ended: `reason` is "until", "boots", "timeout" or "ended" (main.py returned)."""

    reason: str
    boots: int
    console: str


class Twin:
    """A board whose flash is the file `flash_path`. `runtime` is "vm" or "cpython"; `console` gets what it prints.

    `cut` is (boot, flash operation of that boot, "clean", "torn" or "last"): where the power fails, once, on the VM."""

    def __init__(
        self,
        flash_path: Path,
        runtime: str = "vm",
        world: dict | None = None,
        console: Callable[[str], object] = lambda text: None,
        cut: tuple[int, int, str] | None = None,
    ) -> None:
        if runtime == "vm" and not VM.exists():
            raise TwinError("the MicroPython VM has no wheel for this machine: use the runtime cpython")
        self.flash_path = flash_path
        self.runtime = runtime
        self.world = {**WORLD, **(world or {})}
        self._console = console
        self.cut = cut
        self._cut_now: tuple[int, str] | None = None
        self._rtc_memory = ""  # in hex; survives a reset
        self._on_trial = False

    def power_on(
        self, max_boots: int = 8, timeout_s: float = 120, until: Callable[[str], bool] = lambda console: False
    ) -> Result:
        """Power on, follow the board through its resets, and cut the power when `until(console so far)` says so, after
        `max_boots` starts of a program, or after `timeout_s`."""
        deadline = time.monotonic() + timeout_s
        heard = ""
        cause, label, why = "power-on", "", ""
        self._rtc_memory = ""

        def hear(text: str) -> None:
            nonlocal heard
            heard += text
            self._console(text)

        for boot in range(1, max_boots + 1):
            with self._flash() as flash:
                if cause in ("deep sleep", "soft reset"):  # neither of them looks at otadata
                    hear(f"-- {cause}: {label} starts again\n")
                else:
                    try:
                        label, why = bootloader.start(flash)
                    except bootloader.NothingToBoot as error:
                        raise TwinError(f"{self.flash_path}: {error}") from None
                    hear(f"-- {cause}: the boot loader starts {label} ({why})\n")
            self._cut_now = self.cut[1:] if self.cut and self.cut[0] == boot else None
            self._on_trial = why == "on trial"
            ended = self._run(label, cause, deadline, hear, lambda: until(heard))
            if ended in ("until", "timeout", "ended"):
                return Result(ended, boot, heard)
            cause = ended
        return Result("boots", max_boots, heard)

    def files(self) -> dict[str, bytes]:
        """The files on the flash now, by path."""
        with self._flash() as flash:
            return read_files(flash)

    def state(self) -> dict:
        """The agent's record; empty when there is none."""
        return json.loads(self.files().get("/state.json", b"{}"))

    def otadata(self) -> list[tuple[int, int, bool]]:
        """Both otadata records: sequence, state, whether the crc fits."""
        with self._flash() as flash:
            return otadata.read_records(flash, self._partition(flash, "otadata")[2])

    def slot_bytes(self, label: str, size_bytes: int) -> bytes:
        """The first `size_bytes` of a partition."""
        with self._flash() as flash:
            return bytes(flash.read(self._partition(flash, label)[2], size_bytes))

    @contextlib.contextmanager
    def _flash(self):
        with open(self.flash_path, "r+b", buffering=0) as file:
            yield Flash(file)

    def _partition(self, flash: Flash, label: str) -> tuple:
        return next(entry for entry in partitions.read_table(flash) if entry[4] == label)

    def _behaviour(self, label: str) -> str | None:
        for digest, behaviour in self.world["firmware"].items():
            size_bytes = behaviour["size_bytes"]
            if hashlib.sha256(self.slot_bytes(label, size_bytes)).hexdigest() == digest:
                return behaviour["does"]
        return None

    def _command(self) -> list[str]:
        if self.runtime == "vm":
            return [str(VM), "-X", f"heapsize={HEAP}", str(STARTERS / "vm_main.py")]
        return [sys.executable, "-u", str(STARTERS / "cpython_main.py")]

    def _environment(self, control_fd: int, label: str, cause: str, repl: str | None = None) -> dict[str, str]:
        world = {**self.world, "reset_cause": cause, "behaviour": self._behaviour(label), "cut": self._cut_now}
        world["repl"] = repl
        world["rtc_memory"] = self._rtc_memory
        power = {"flash": str(self.flash_path.resolve()), "control": control_fd, "running": label, "world": world}
        # Not as an argument: MicroPython's end at 255 bytes. Not in \u escapes: it does not join the halves of one.
        return {**os.environ, "TWIN_POWER": json.dumps(power, ensure_ascii=False)}

    def _run(self, label: str, cause: str, deadline: float, hear: Callable, done: Callable[[], bool]) -> str:
        """Run one program until it ends; "until", "timeout", "ended", or the cause of the reset."""
        control, control_end = os.pipe()
        program = subprocess.Popen(
            self._command(),
            env=self._environment(control_end, label, cause),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=[control_end],
            start_new_session=True,
        )
        os.close(control_end)
        try:
            return self._listen(program, control, deadline, hear, done)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(program.pid, signal.SIGKILL)
            program.wait()
            if program.stdout:
                program.stdout.close()
            os.close(control)

    def _listen(self, program, control: int, deadline: float, hear: Callable, done: Callable[[], bool]) -> str:
        watchdog = float("inf")
        console = program.stdout.fileno()
        pending = b""
        with selectors.DefaultSelector() as selector:
            selector.register(console, selectors.EVENT_READ)
            selector.register(control, selectors.EVENT_READ)
            while True:
                wait_s = min(deadline, watchdog) - time.monotonic()
                ready = {key.fd for key, _ in selector.select(max(wait_s, 0))}
                if console in ready:
                    text = os.read(console, 65536)
                    if text:
                        hear(text.decode(errors="replace").replace("\r\n", "\n"))
                        if done():
                            return "until"
                    else:
                        selector.unregister(console)
                if control in ready:
                    data = os.read(control, 65536)
                    if not data:
                        return "panic: the program ended"
                    *lines, pending = (pending + data).split(b"\n")
                    for line in lines:
                        word, _, rest = line.decode().partition(" ")
                        if word == "watchdog":
                            watchdog = time.monotonic() + int(rest) / 1000 / (TRIAL_SPEED if self._on_trial else 1)
                        elif word == "rtc_memory":
                            self._rtc_memory = rest
                        elif word in ("reset", "ended"):
                            self._drain(selector, console, hear)
                            if done():
                                return "until"
                            if word == "ended" and watchdog < float("inf"):
                                # On the board the REPL waits now, and nobody feeds the watchdog.
                                time.sleep(max(min(watchdog, deadline) - time.monotonic(), 0))
                                return "watchdog" if watchdog <= deadline else "timeout"
                            return rest if word == "reset" else "ended"
                now = time.monotonic()
                if now >= deadline:
                    return "timeout"
                if now >= watchdog:
                    return "watchdog"

    def _drain(self, selector, console: int, hear: Callable) -> None:
        """Hear what the program printed before it told of its end."""
        while console in {key.fd for key, _ in selector.select(0)}:
            text = os.read(console, 65536)
            if not text:
                return
            hear(text.decode(errors="replace").replace("\r\n", "\n"))

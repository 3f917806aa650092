"""The device in this process, for speed: the agent's own files, time that passes at once, flash that can lose power.

Nothing survives a reset but the flash: the agent's modules are loaded anew at every boot.
"""

import builtins
import contextlib
import gc
import importlib.abc
import importlib.util
import io
import os
import sys
import time
import traceback
import types
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from littlefs import LittleFS, LittleFSError, UserContext

from tools.twin.paths import make_importable

BLOCK_BYTES = 4096
BOOTS_MAX = 16
_QUIET_TIMEOUT_MS = 6 * 3600 * 1000
_AGENT = ("boot", "main", "life", "board", "thermometer", "gadgetkeeper")


class Off(BaseException):
    """The program has ended: `cause` is "quiet", "power cut", or that of the reset."""

    def __init__(self, cause: str) -> None:
        super().__init__(cause)
        self.cause = cause


@dataclass
class Run:
    """What happened from power-on until quiet: `quiet` is False when it never came. `started` are the slots that were
    started, `versions` what was in them then (None: no published image), `operations` those of the flash before and
    after the first cut, `requests` the calls made."""

    quiet: bool = False
    console: str = ""
    started: list[str] = field(default_factory=list)
    versions: list[str | None] = field(default_factory=list)
    operations: list[int] = field(default_factory=lambda: [0])
    requests: int = 0


def load(device: Path) -> None:
    """Make the agent in `device` (with boot.py beside it) and the chip's modules importable."""
    make_importable(device)
    sys.meta_path.insert(0, _Agent(device))


class Rig:
    """One device: `memory` is its flash, `server` answers it. `cuts` are (operation, kind), each counted from the one
    before; "request" as kind cuts after the server has acted on that request and before the device hears of it."""

    def __init__(self, memory: bytearray, server, cuts: tuple = (), seed: int = 0) -> None:
        self._memory = memory
        self._server = server
        self._cuts = list(cuts)
        self._seed = seed
        self._now_ms = 0
        self._watchdog_ms: float = float("inf")
        self.on_operation = None

    def run(self) -> Run:
        """Power on, and again after every cut, until the device is quiet: in step (or given up) and reporting."""
        from tools.twin.cut_flash import CutFlash

        run = Run()
        self._run = run
        cause = "power-on"
        flash = None
        while len(run.started) < BOOTS_MAX:
            if flash is None:
                cut = self._cuts.pop(0) if self._cuts else None
                self._request_cut = cut[0] if cut and cut[1] == "request" else None
                file = io.BytesIO(self._memory)
                flash = CutFlash(file, cut if self._request_cut is None else None, self._power_off, self._seed)
                flash.on_operation = self._count
            cause = self._boot(flash, cause)
            self._memory[:] = file.getvalue()
            run.console += f"-- {cause}\n"
            if cause == "quiet":
                run.quiet = True
                break
            if cause == "never quiet":
                break
            if cause == "power cut":
                run.operations.append(0)
                flash = None
        return run

    def _boot(self, flash, cause: str) -> str:
        from tools.twin import bootloader, hardware

        self._flash = flash
        self._boot_ms = self._now_ms
        self._watchdog_ms = float("inf")
        self._heard = io.StringIO()
        try:
            label, why = bootloader.start(flash)
            self._run.started.append(label)
            self._run.console += f"-- {cause}: the boot loader starts {label} ({why})\n"
            version = self._server.version_in(label, self._memory_of(flash))
            self._run.versions.append(version)
            self._behaviour = self._server.does.get(version)
            world = {"wifi": {"twin": "x"}, "ds18x20": 21.5, "chip": 40.0, "reset_cause": cause}
            hardware.power_on(flash, world, label, self)
            with self._virtual_time(), contextlib.redirect_stdout(self._heard):
                self._program()
        except Off as off:
            return off.cause
        except bootloader.NothingToBoot:
            return "never quiet"
        except Exception:  # nobody catches it on the board either: the thermometer has stopped
            self._heard.write(traceback.format_exc())
        finally:
            self._run.console += self._heard.getvalue()
        return "never quiet"

    def _program(self) -> None:
        for name in [name for name in sys.modules if name.partition(".")[0] in _AGENT]:
            del sys.modules[name]
        if self._behaviour == "crash":
            raise Off("panic")
        with Files(self._flash).mounted():
            importlib.import_module("boot")
            if self._behaviour == "hang":
                raise Off("watchdog" if self._watchdog_ms < float("inf") else "never quiet")
            transport: Any = types.ModuleType("gadgetkeeper.transport")
            transport.Session = lambda ca: self
            with _as_module(transport):
                importlib.import_module("life").live("main")

    # What the chip's modules tell the power supply (hardware.tell), as a file.

    def write(self, line: bytes) -> None:
        word, _, rest = line.decode().strip().partition(" ")
        if word == "watchdog":
            self._watchdog_ms = self._now_ms + int(rest)
        else:
            raise Off(rest)

    # What the agent calls the server with, as transport.Session.

    def close(self) -> None:
        pass

    def request(self, method: str, url: str, data=None, headers=None):
        from gadgetkeeper.errors import RetryableError

        if self._behaviour == "offline":
            raise RetryableError("no_answer", "the server does not answer")
        number = self._run.requests
        self._run.requests += 1
        reply = self._server.request(method, url, data, headers or {})
        if number == self._request_cut:
            self._request_cut = None
            self._flash.dead = True
            self._power_off()
        return reply

    def _power_off(self) -> None:
        raise Off("power cut")

    def _count(self, number: int, kind: str, address: int, size_bytes: int) -> None:
        if not self._flash.dead:
            self._run.operations[-1] += 1
            if self.on_operation:
                self.on_operation(kind, address)

    def _memory_of(self, flash):
        return lambda address, size: bytes(flash.read(address, size))

    @contextlib.contextmanager
    def _virtual_time(self):
        clock: Any = time
        memory: Any = gc
        kept = {name: getattr(time, name, None) for name in ("ticks_ms", "ticks_add", "ticks_diff", "sleep_ms")}
        clock.ticks_ms = lambda: self._now_ms
        clock.ticks_add = lambda ticks, delta: ticks + delta
        clock.ticks_diff = lambda one, other: one - other
        clock.sleep_ms = self._sleep
        collect, memory.collect = gc.collect, lambda: 0  # MicroPython's takes a millisecond, CPython's fifty
        try:
            yield
        finally:
            memory.collect = collect
            for name, value in kept.items():
                setattr(time, name, value)

    def _sleep(self, duration_ms: int) -> None:
        self._now_ms += duration_ms
        if self._now_ms >= self._watchdog_ms:
            raise Off("watchdog")
        heard = self._heard.getvalue()
        if " C reported" in heard and ("in step with" in heard or "has failed here" in heard):
            raise Off("quiet")
        if self._now_ms - self._boot_ms > _QUIET_TIMEOUT_MS:
            raise Off("never quiet")


class _Agent(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports the agent's modules, which it lets go of and imports again all the time, from code compiled once."""

    def __init__(self, device: Path) -> None:
        paths = {"boot": device.parent / "boot.py"}
        for path in device.rglob("*.py"):
            parts = path.relative_to(device).with_suffix("").parts
            paths[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
        self._code = {name: compile(path.read_text(), str(path), "exec") for name, path in paths.items()}

    def find_spec(self, name, path=None, target=None):
        if name not in self._code:
            return None
        is_package = self._code[name].co_filename.endswith("__init__.py")
        spec = importlib.util.spec_from_loader(name, self, origin=self._code[name].co_filename, is_package=is_package)
        assert spec
        spec.has_location = True
        return spec

    def exec_module(self, module) -> None:
        exec(self._code[module.__name__], module.__dict__)


@contextlib.contextmanager
def _as_module(module: types.ModuleType):
    """Give this module to everyone who imports its name, however often the agent lets go of it."""

    class Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
        def find_spec(self, name, path=None, target=None):
            return importlib.util.spec_from_loader(name, self) if name == module.__name__ else None

        def create_module(self, spec):
            return module

        def exec_module(self, module):
            pass

    finder = Finder()
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)


class Files:
    """The board's littlefs for the agent: `open`, and what it uses of `os`."""

    def __init__(self, flash) -> None:
        import esp32

        self._flash = flash
        vfs = esp32.Partition("vfs")
        self._lfs = LittleFS(
            context=_Blocks(vfs, flash),
            block_size=BLOCK_BYTES,
            block_count=vfs.ioctl(4),
            read_size=32,
            prog_size=32,
            cache_size=128,
            lookahead_size=32,
        )

    @contextlib.contextmanager
    def mounted(self):
        """Put these files in the place of the host's, but for the agent's own."""
        host = builtins.open, os.rename, os.stat

        def choose(mine, theirs):
            def call(path, *more, **named):
                on_board = isinstance(path, str) and path.startswith("/") and path.count("/") == 1
                return (mine if on_board else theirs)(path, *more, **named)

            return call

        builtins.open, os.rename, os.stat = map(choose, (self.open, self.rename, self.stat), host)
        try:
            yield
        finally:
            builtins.open, os.rename, os.stat = host

    def open(self, path: str, mode: str = "r"):
        raw = self._call(lambda: self._lfs.open(path, mode.replace("b", "") + "b", buffering=0))
        return _File(raw, self._call, "b" in mode)

    def rename(self, old: str, new: str) -> None:
        self._call(lambda: self._lfs.rename(old, new))

    def stat(self, path: str) -> tuple:
        size = self._call(lambda: self._lfs.stat(path)).size
        return (0, 0, 0, 0, 0, 0, size)

    def _call(self, function):
        try:
            result = function()
        except FileNotFoundError:
            raise OSError(2, "ENOENT") from None
        except LittleFSError as error:
            if not self._flash.dead:
                raise OSError(abs(error.code), str(error)) from None
        if self._flash.dead:  # littlefs has seen an I/O error; in truth nobody is left to see anything
            raise Off("power cut")
        return result


class _File:
    def __init__(self, raw, call, binary: bool) -> None:
        self._raw, self._call, self._binary = raw, call, binary
        # littlefs aborts on closing twice, as the garbage collector would when a power cut makes the first one fail.
        self._close, raw.close = raw.close, lambda: None

    def read(self, size: int = -1):
        data = self._call(lambda: self._raw.read(size))
        return data if self._binary else data.decode()

    def write(self, text) -> int:
        return self._call(lambda: self._raw.write(text if self._binary else text.encode()))

    def flush(self) -> None:
        self._call(self._raw.flush)

    def close(self) -> None:
        self._call(self._close)

    def __enter__(self):
        return self

    def __exit__(self, kind, *_) -> None:
        if kind is None or issubclass(kind, Exception):
            self.close()


class _Blocks(UserContext):
    """littlefs' block device; a power loss becomes an I/O error, because no exception passes through littlefs."""

    def __init__(self, partition, flash) -> None:
        super().__init__(0)
        self._partition = partition
        self._start = partition.info()[2]
        self._flash = flash

    def read(self, cfg, block, off, size):
        return self._flash.read(self._start + block * BLOCK_BYTES + off, size)

    def prog(self, cfg, block, off, data):
        return self._alive(lambda: self._partition.writeblocks(block, bytes(data), off))

    def erase(self, cfg, block):
        return self._alive(lambda: self._partition.ioctl(6, block))

    def sync(self, cfg):
        return 0

    def _alive(self, function) -> int:
        try:
            function()
        except Off:
            return -5
        return 0

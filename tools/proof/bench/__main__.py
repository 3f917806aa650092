"""`make bench`: what one update costs a board, beside a floor and other ways to update; a table, a picture, JSON."""

import argparse
import sys
import tempfile
from pathlib import Path

from rich.progress import Progress

from tools import agent, firmware, server
from tools.proof.bench import measure, report, world
from tools.proof.bench.board import BoardError
from tools.twin.device import HEAP
from tools.twin.paths import VM

FOLDER = world.ROOT / "build" / "bench"
PICTURE = world.ROOT / "docs" / "performance.svg"
PAGE = world.ROOT / "docs" / "performance.md"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.proof.bench", description=__doc__)
    parser.add_argument("--repeat", type=_count, default=9, help="how often CPU time is taken (default: 9)")
    parser.add_argument("--docs", action="store_true", help="put picture and table into docs/ (make figures)")
    options = parser.parse_args()
    if not VM.exists():
        print("bench: the MicroPython VM has no wheel for this machine", file=sys.stderr)
        return 1
    try:
        result = run(options.repeat)
    except (BoardError, agent.AgentFilesError, firmware.FirmwareError, server.ServingError, OSError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    report.write_json(result, FOLDER / "bench.json")
    (FOLDER / "table.md").write_text(report.markdown(result))
    report.draw(result, PICTURE if options.docs else FOLDER / PICTURE.name)
    if options.docs:
        report.put_into(PAGE, report.markdown(result))
    report.show(result)
    place = "docs" if options.docs else FOLDER.relative_to(world.ROOT)
    print(f"figures in {FOLDER.relative_to(world.ROOT)}/bench.json and table.md, picture in {place}")
    return 0


def run(repeat: int) -> dict:
    """Measure everything; the figures as JSON holds them."""
    with (
        tempfile.TemporaryDirectory() as folder,
        Progress(transient=True) as progress,
        world.contenders() as contenders,
    ):
        step_flash = Path(folder) / "in-step.bin"
        task = progress.add_task("counts and heap", total=len(contenders) + 1)
        updates = {}
        for name, contender in contenders.items():
            progress.update(task, description=f"counts and heap: {name}")
            figures = updates[name] = measure.count(contender, step_flash if name == world.OURS[0] else None)
            if figures.failure and name in world.OURS:
                raise BoardError(f"{name}: the update failed: {figures.failure}")
            if not figures.failure:
                figures.with_garbage_bytes = measure.with_garbage_bytes(contender)
                figures.live_bytes = measure.live_bytes(contender)
                figures.peak_bytes = measure.peak_bytes(contender, figures.live_bytes)
                figures.largest_bytes = measure.largest_bytes(contender)
            progress.advance(task)
        progress.update(task, description="counts and heap: in step")
        in_step = measure.in_step(step_flash, contenders[world.OURS[0]])
        in_step.peak_bytes = measure.in_step_peak_bytes(step_flash)
        progress.advance(task)
        task = progress.add_task("CPU time", total=repeat)
        sound = [contender for name, contender in contenders.items() if not updates[name].failure]
        for _ in range(repeat):
            # All of them once, then all of them again: what else the machine does meets all alike.
            used, step_s = measure.cpu_s(sound, step_flash)
            for name in used:
                updates[name].cpu_s.append(used[name])
            in_step.cpu_s.append(step_s)
            progress.advance(task)
    return {
        "image_bytes": updates["floor raw"].image_bytes,
        "heap": HEAP,
        "repeat": repeat,
        "updates": {name: measure.as_json(figures) for name, figures in updates.items()},
        "in_step": measure.as_json(in_step),
    }


def _count(text: str) -> int:
    if not text.isdigit() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no number above 0 (REPEAT=9)")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())

"""`make bench-growth`: what an update costs as the firmware grows, and as the pieces it comes in shrink."""

import argparse
import sys
from dataclasses import replace
from pathlib import Path

from rich.progress import Progress

from tools.proof.bench import measure, report, world
from tools.proof.bench.board import BoardError, How
from tools.proof.bench.pieces import Pieces, serving
from tools.proof.releases import small_release
from tools.twin.paths import VM

PICTURE = world.ROOT / "docs" / "performance-growth.svg"
RESULT = world.ROOT / "build" / "bench" / "growth.json"

_FORMS = ("ours raw", "ours string")
_KIB = 1024
_IMAGE_BYTES = tuple(size * _KIB for size in (64, 256, 1024, 2048, 4000))  # and the bundle
_SLOT_BYTES = 4096 * _KIB
_PIECE_BYTES = (65536, 4096, 256, 16, 1)
_SMALL_BYTES = 32 * _KIB  # the image in pieces for which the heap is looked at
_LARGE_BYTES = 1024 * _KIB  # the one for CPU time, unless its pieces would be more than the small one's bytes
_TINY_BYTES = 2048  # what the cost that does not grow is taken from
_SERIES = {
    "JSON string, HTTP chunks": ("ours string", True),
    "JSON string, TCP segments": ("ours string", False),
    "raw, HTTP chunks": ("ours raw", True),
    "raw, TCP segments": ("ours raw", False),
}
_VERSION = "2" * 32
_REPEAT = 7
_MARKS = {"ours raw": "#4477aa", "ours string": "#ee7733"}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.proof.bench.growth", description=__doc__)
    parser.add_argument("--docs", action="store_true", help="put the picture into docs/ (make figures)")
    picture = PICTURE if parser.parse_args().docs else RESULT.with_name(PICTURE.name)
    if not VM.exists():
        print("bench-growth: the MicroPython VM has no wheel for this machine", file=sys.stderr)
        return 1
    try:
        with Progress(transient=True) as progress:
            result = {"sizes": over_sizes(progress), "pieces": over_pieces(progress)}
    except (BoardError, OSError) as error:
        print(f"bench-growth: {error}", file=sys.stderr)
        return 1
    report.write_json(result, RESULT)
    draw(result, picture)
    for kind, series in result.items():
        for name, points in series.items():
            heaps = [point["live_bytes"] for point in points]
            costs = [point["cpu_s_per_mb"] * 1000 for point in points]
            print(
                f"{kind}: {name}: {min(heaps):,} to {max(heaps):,} bytes of heap in use, "
                f"CPU {min(costs):.0f} to {max(costs):.0f} ms per MB"
            )
    print(f"figures in {RESULT.relative_to(world.ROOT)}, picture in {picture.relative_to(world.ROOT)}")
    return 0


def over_sizes(progress: Progress) -> dict[str, list[dict]]:
    """The cost of an update per form, for each size of image."""
    found: dict[str, list[dict]] = {name: [] for name in _FORMS}
    task = progress.add_task("image sizes", total=len(_IMAGE_BYTES) + 1)
    least = {}
    for size_bytes in (_TINY_BYTES, *_IMAGE_BYTES):
        with world.contenders(
            _FORMS, small_release(1, 16 * _KIB), small_release(2, size_bytes), _SLOT_BYTES
        ) as contenders:
            for name, contender in contenders.items():
                if size_bytes == _TINY_BYTES:
                    least[name] = _cpu_s(contender, "")
                    continue
                found[name].append(
                    {
                        "size_bytes": size_bytes,
                        "live_bytes": measure.live_bytes(contender),
                        "cpu_s_per_mb": (_cpu_s(contender, "") - least[name]) / (size_bytes - _TINY_BYTES) * 1e6,
                    }
                )
        progress.advance(task)
    return found


def over_pieces(progress: Progress) -> dict[str, list[dict]]:
    """The cost of an update per form and kind of piece, for each size of piece."""
    found: dict[str, list[dict]] = {name: [] for name in _SERIES}
    task = progress.add_task("pieces", total=len(_PIECE_BYTES) * len(_SERIES))
    tiny, small = small_release(3, _TINY_BYTES), small_release(2, _SMALL_BYTES)
    with world.contenders(_FORMS, small_release(1, 16 * _KIB), small) as contenders:
        for series, (name, chunked) in _SERIES.items():
            for size_bytes in _PIECE_BYTES:
                pieces = Pieces(name.split()[1], size_bytes, chunked)
                with serving(small, _VERSION, pieces) as url:
                    live = measure.live_bytes(contenders[name], url)
                large = small_release(4, min(_LARGE_BYTES, _SMALL_BYTES * size_bytes))
                cpu_s = []
                for image in (tiny, large):
                    with serving(image, _VERSION, pieces) as url:
                        cpu_s.append(_cpu_s(replace(contenders[name], image=image), url))
                grown_s = cpu_s[1] - cpu_s[0]
                found[series].append(
                    {
                        "size_bytes": size_bytes,
                        "live_bytes": live,
                        "cpu_s_per_mb": grown_s / (len(large) - len(tiny)) * 1e6,
                    }
                )
                progress.advance(task)
    return found


def _cpu_s(contender: world.Contender, url: str) -> float:
    """CPU seconds of one update, up to the reset: the least of some, because what else the machine does only adds."""
    runs = [measure.update(contender, How(host_files=True), url) for _ in range(_REPEAT)]
    for run in runs:
        if run.boots[0].ended != "reset":
            raise BoardError(f"{contender.name}: the update failed:\n{run.boots[0].console}")
    return min(run.boots[0].cpu_s for run in runs)


def draw(result: dict, path: Path) -> None:
    """Write the picture: heap in use above, CPU per MB below; image sizes left, pieces right."""
    plot = report.pyplot()
    figure, axes = plot.subplots(2, 2, figsize=(10, 5.6), sharex="col", sharey="row", layout="constrained")
    for column, (kind, unit) in enumerate(
        (("sizes", "size of the image"), ("pieces", "size of the pieces it comes in"))
    ):
        for name, points in result[kind].items():
            colour = _MARKS["ours raw" if "raw" in name else "ours string"]
            line = ":" if "TCP" in name else "--" if name == "ours string" else "-"
            x = [point["size_bytes"] for point in points]
            axes[0][column].plot(
                x, [point["live_bytes"] / _KIB for point in points], line, color=colour, marker="o", ms=3
            )
            y = [point["cpu_s_per_mb"] * 1000 for point in points]
            axes[1][column].plot(x, y, line, color=colour, marker="o", ms=3, label=name)
        axes[1][column].set_xscale("log", base=2)
        axes[1][column].set_xticks(x, [_short(size) for size in x])
        axes[1][column].set_xlabel(unit)
        axes[1][column].legend(fontsize=8, frameon=False)
    axes[0][0].set_ylabel("heap in use (KiB)")
    axes[1][0].set_ylabel("CPU, ms per MB")
    axes[1][0].set_yscale("log")
    axes[0][0].set_ylim(0, 40)
    for row in axes:
        for each in row:
            each.spines[["top", "right"]].set_visible(False)
    for each in axes[0]:
        each.axhline(report.HEAP_BUDGET_BYTES / _KIB, color="#cc3311", linewidth=1)
        each.text(
            each.get_xlim()[0], report.HEAP_BUDGET_BYTES / _KIB, " budget", va="bottom", fontsize=8, color="#cc3311"
        )
    report.save(figure, path)


def _short(size_bytes: int) -> str:
    if size_bytes >= 1024 * _KIB:
        return f"{size_bytes / _KIB / _KIB:.0f} M"
    return f"{size_bytes // _KIB} K" if size_bytes >= _KIB else str(size_bytes)


if __name__ == "__main__":
    sys.exit(main())

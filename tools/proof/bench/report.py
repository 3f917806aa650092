"""What was measured, as people look at it: a table on the console, the same in Markdown, a picture, and JSON."""

import json
from pathlib import Path

import matplotlib
from rich.console import Console
from rich.table import Table

from tools.proof.bench import world

HEAP_BUDGET_BYTES = 36 * 1024
CPU_BUDGET = 1.25

_TABLE, _TABLE_END = "<!-- table -->", "<!-- end of table -->"
_COLUMNS = (
    ("peak heap", "peak"),
    ("in use", "live"),
    ("with garbage", "garbage"),
    ("largest piece", "largest"),
    ("CPU", "cpu"),
    ("CPU - boot", "cpu_net"),
    ("received", "received"),
    ("erased", "erased"),
    ("programmed", "programmed"),
    ("state writes", "state"),
    ("requests", "requests"),
)
_COLOURS = {"floor": "#bbbbbb", "other": "#ccbb44", "ours": "#4477aa", "budget": "#cc3311"}


def rows(result: dict) -> list[tuple[str, list[str]]]:
    """A row of texts per contender: how the table and the Markdown show it."""
    shown = []
    for name, figures in result["updates"].items():
        if figures["failure"]:
            shown.append((name, [figures["failure"].partition(":")[0]]))
            continue
        ratio, net = ratios(result, name)
        cells = {
            "peak": f"{figures['peak_bytes']:,}",
            "live": f"{figures['live_bytes']:,}",
            "garbage": f"{figures['with_garbage_bytes']:,}",
            "largest": f"{figures['largest_bytes']:,}",
            "cpu": f"{ratio:.2f}",
            "cpu_net": f"{net:.2f}" if net is not None else "",
            "received": f"{figures['received_bytes'] / figures['image_bytes']:.4f}",
            "erased": f"{figures['erased'] / figures['sectors']:.3f}",
            "programmed": f"{figures['programmed_bytes'] / figures['image_bytes']:.3f}",
            "state": str(figures["state_writes"]),
            "requests": str(len(figures["requests"])),
        }
        shown.append((name, [cells[key] for _, key in _COLUMNS]))
    return shown


def ratios(result: dict, name: str) -> tuple[float, float | None]:
    """CPU time as a multiple of the floor's for the same kind of body; for ours also without what every boot costs."""
    updates = result["updates"]
    is_text = name == "naive" or name.split()[1:2] in (["string"], ["object"])
    floor = "floor string" if is_text else "floor raw"
    floor_s = updates[floor]["cpu_least_s"]
    used_s = updates[name]["cpu_least_s"]
    net = (used_s - result["in_step"]["cpu_least_s"]) / floor_s if name in world.OURS else None
    return used_s / floor_s, net


def in_step_lines(result: dict) -> list[tuple[str, str]]:
    """What a boot costs that has nothing to do, as pairs of name and text."""
    figures = result["in_step"]
    return [
        ("requests", str(len(figures["requests"]))),
        ("TCP connections", str(figures["connections"])),
        ("flash erases and programs", str(figures["flash_writes"])),
        ("peak heap above idle", f"{figures['peak_bytes']:,} bytes"),
        ("held at the hand-over to the thermometer", f"{figures['held_bytes']:,} bytes"),
        ("names interned by then", f"{figures['held_names']} ({figures['held_name_bytes']:,} bytes)"),
        ("CPU until then", f"{figures['cpu_least_s'] * 1000:.1f} ms"),
    ]


def show(result: dict) -> None:
    """Print the table."""
    table = Table(title=f"One update: {result['image_bytes']:,} bytes of firmware", title_justify="left")
    table.add_column("", no_wrap=True)
    for heading, _ in _COLUMNS:
        table.add_column(heading, justify="right")
    for name, cells in rows(result):
        table.add_row(name, *cells)
    console = Console(width=None if Console().is_terminal else 150)
    console.print(table)
    for name, figures in result["updates"].items():
        if figures["failure"]:
            console.print(f"{name}: {figures['failure']}")
    console.print("Heap in bytes above idle, code included. CPU, received, erased, programmed: multiples of the least.")
    step = Table(title="A boot that is in step", title_justify="left", show_header=False)
    for pair in in_step_lines(result):
        step.add_row(*pair)
    console.print(step)


def markdown(result: dict) -> str:
    """The same tables in Markdown."""
    lines = ["| | " + " | ".join(heading for heading, _ in _COLUMNS) + " |", "| --- |" + " ---: |" * len(_COLUMNS)]
    for name, cells in rows(result):
        lines.append(f"| {name} | " + " | ".join(cells + [""] * (len(_COLUMNS) - len(cells))) + " |")
    lines += ["", "| a boot that is in step | |", "| --- | ---: |"]
    lines += [f"| {name} | {text} |" for name, text in in_step_lines(result)]
    return "\n".join(lines) + "\n"


def put_into(page: Path, text: str) -> None:
    """Replace what stands between the page's two marks."""
    before, rest = page.read_text().split(_TABLE, 1)
    after = rest.split(_TABLE_END, 1)[1]
    page.write_text(f"{before}{_TABLE}\n\n{text}\n{_TABLE_END}{after}")


def draw(result: dict, path: Path) -> None:
    """Write the picture: heap in use and CPU time of each contender, with the budgets."""
    plot = pyplot()
    updates = result["updates"]
    names = list(updates)[::-1]
    figure, (heap, cpu) = plot.subplots(1, 2, figsize=(10, 0.36 * len(names) + 1.4), sharey=True, layout="constrained")
    for row, name in enumerate(names):
        figures, colour = updates[name], _colour(name)
        if figures["failure"]:
            heap.text(0.5, row, figures["failure"].split(":")[0], va="center", fontsize=9, color=_COLOURS["budget"])
            continue
        heap.barh(row, figures["peak_bytes"] / 1024, color=colour, alpha=0.45)
        heap.barh(row, figures["live_bytes"] / 1024, color=colour)
        label = f" {figures['live_bytes'] / 1024:.1f} ({figures['peak_bytes'] / 1024:.1f})"
        heap.text(figures["peak_bytes"] / 1024, row, label, va="center", fontsize=9)
        ratio, net = ratios(result, name)
        cpu.barh(row, ratio, color=colour, alpha=0.45 if net is not None else 1)
        if net is not None:
            cpu.barh(row, net, color=colour)
        cpu.text(ratio, row, f" {ratio:.2f}" if net is None else f" {net:.2f} ({ratio:.2f})", va="center", fontsize=9)
    heap.set_yticks(range(len(names)), names)
    heap.set_title("KiB of heap in use, code included (pale: the smallest heap)", fontsize=10)
    cpu.set_title("CPU, multiples of the floor's (pale: with what any boot costs)", fontsize=10)
    for axes, budget in ((heap, HEAP_BUDGET_BYTES / 1024), (cpu, CPU_BUDGET)):
        axes.axvline(budget, color=_COLOURS["budget"], linewidth=1)
        top = axes.get_xaxis_transform()
        axes.text(budget, 1, " budget", transform=top, va="top", fontsize=8, color=_COLOURS["budget"])
        axes.margins(x=0.2)
        axes.spines[["top", "right"]].set_visible(False)
    save(figure, path)


def save(figure, path: Path) -> None:
    """Write a figure as SVG, the same bytes for the same figure."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None})
    pyplot().close(figure)


def write_json(result: dict, path: Path) -> None:
    """Keep the figures."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=1) + "\n")


def _colour(name: str) -> str:
    kind = "floor" if name in world.FLOORS else "ours" if name in world.OURS else "other"
    return _COLOURS[kind]


def pyplot():
    """matplotlib, set up for pictures that come out the same for the same figures."""
    matplotlib.use("svg")
    matplotlib.rcParams.update({"svg.hashsalt": "thermometer", "svg.fonttype": "none", "font.family": "sans-serif"})
    from matplotlib import pyplot

    return pyplot

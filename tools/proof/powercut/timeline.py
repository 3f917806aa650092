"""A picture of one update's flash operations, coloured by what a power cut there leads to."""

from pathlib import Path

from tools.proof.powercut import world
from tools.proof.powercut.sweep import Setting, Story

_ROWS = {"vfs": "/state.json", "ota_1": "slot ota_1", "otadata": "otadata"}
_COLOURS = {
    "again": ("#4477aa", "version 1 runs, the download begins anew"),
    "on": ("#66ccee", "version 1 runs, the download goes on where it stopped"),
    "armed": ("#ccbb44", "version 1 runs, the image in the slot is checked and started"),
    "trial": ("#ee7733", "version 1 runs after a trial that was cut, version 2 is tried again"),
    "stays": ("#228833", "version 2 runs"),
}
_CELL, _LEFT, _TOP = 16, 110, 34


def draw(path: Path, setting: Setting) -> None:
    """Write the SVG."""
    story = Story("ranges", setting)
    operations: list[tuple[str, str]] = []
    story.run(on_operation=lambda kind, address: operations.append((kind, _row(address))))
    operations = operations[: story.run().operations[0]]
    width = _LEFT + len(operations) * _CELL + 20
    height = _TOP + 3 * 28 + 30 + len(_COLOURS) * 20
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}"'
        ' font-family="sans-serif" font-size="12">',
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
        f'<text x="8" y="20" font-size="14">One update: {len(operations)} flash operations, each cut half-way</text>',
    ]
    for at, title in enumerate(_ROWS.values()):
        parts.append(f'<text x="8" y="{_TOP + at * 28 + 16}">{title}</text>')
    for number, (kind, row) in enumerate(operations):
        colour, meaning = _COLOURS[_fate(story, number)]
        y = _TOP + list(_ROWS).index(row) * 28
        x = _LEFT + number * _CELL
        look = f'fill="{colour}"' if kind == "program" else f'fill="#ffffff" stroke="{colour}" stroke-width="3"'
        title = f"<title>operation {number}: {kind}; cut here: {meaning}</title>"
        parts.append(f'<rect x="{x + 2}" y="{y + 4}" width="{_CELL - 5}" height="18" {look}>{title}</rect>')
    y = _TOP + 3 * 28 + 16
    parts.append(f'<text x="8" y="{y}">hollow: erase, filled: program. After a cut there, at the next power-on:</text>')
    for line, (colour, meaning) in enumerate(_COLOURS.values()):
        parts.append(f'<rect x="8" y="{y + 10 + line * 20}" width="12" height="12" fill="{colour}"/>')
        parts.append(f'<text x="28" y="{y + 20 + line * 20}">{meaning}</text>')
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([*parts, "</svg>"]) + "\n")


def _row(address: int) -> str:
    return next(name for name, (start, size) in world.PLACES.items() if start <= address < start + size)


def _fate(story: Story, number: int) -> str:
    """What the device does after a cut in this operation, from its console."""
    outcome = story.run(((number, "torn"),))
    if outcome.problem:
        raise RuntimeError(outcome.problem)
    before, _, after = outcome.console.partition("-- power cut\n")
    # A boot loader's own write may be the one that was cut: then what ran before it says nothing.
    recovery = after.split("-- quiet")[0]
    if "starts ota_1" in recovery.split("[1/5]")[0]:
        return "stays"
    if "goes on at byte" in recovery:
        return "on"
    if "ota_1 |" in recovery:
        return "again"
    return "trial" if "(on trial)" in before else "armed"

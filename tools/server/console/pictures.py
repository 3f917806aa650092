"""Pictures as plain geometry, for the pages to draw: bars of the fleet over time, and a line of readings."""

from dataclasses import dataclass
from datetime import UTC, datetime

from ..fleet import NONE, Counted
from ..schemas import Kept

WIDTH, HEIGHT = 1000, 100
"""The space that the shapes lie in; a page stretches it to the width it has."""

_COLOURS = 6
_SHOWN_MAX = 6
_GAP_S = 3  # times the interval, then the line is broken
OTHERS = "others"
_BAR_GAP = 4


@dataclass(frozen=True)
class Band:
    """A version in the picture: its name, its colour class, what runs it now."""

    name: str
    colour: str
    things: int
    version_id: str


@dataclass(frozen=True)
class Bar:
    """A rectangle of the picture."""

    x: float
    y: float
    width: float
    height: float
    colour: str


@dataclass(frozen=True)
class Fleet:
    """The versions of a fleet, day by day."""

    bars: list[Bar]
    bands: list[Band]
    first: str
    last: str
    most: int
    total: int


@dataclass(frozen=True)
class Line:
    """A property's readings: pieces of a line, each a list of points for SVG, and what stands at the axes."""

    pieces: list[str]
    dots: list[tuple[float, float]]
    low: float
    high: float
    newest: float
    first: str
    last: str
    count: int


def fleet(counts: list[Counted], numbers: dict[str, int], at: int, days: int) -> Fleet:
    """The picture of these counts, a bar for each day, oldest version below. `numbers`: of the versions, by Id."""
    now = counts[-1]
    most_things: dict[str, int] = {}
    for each in counts:
        for version_id, things in each.things.items():
            most_things[version_id] = max(things, most_things.get(version_id, 0))
    shown = sorted(most_things, key=lambda each: (each in now.things, most_things[each]), reverse=True)[:_SHOWN_MAX]
    shown.sort(key=lambda each: numbers.get(each, 0))
    colours = {each: _colour(each, numbers) for each in shown}
    tallest = max(each.total for each in counts) or 1
    bars: list[Bar] = []
    step = WIDTH / days
    for each in counts:
        x = (days - 1 - (at // 86_400 - each.at // 86_400)) * step
        top = float(HEIGHT)
        rest = each.total - sum(each.things.get(version_id, 0) for version_id in shown)
        heights = [(each.things.get(version_id, 0), colours[version_id]) for version_id in shown] + [(rest, "c-rest")]
        for things, colour in heights:
            if things:
                height = things / tallest * HEIGHT
                top -= height
                bars.append(Bar(round(x + _BAR_GAP / 2, 2), round(top, 3), step - _BAR_GAP, round(height, 3), colour))
    bands = [Band(_name(each, numbers), colours[each], now.things.get(each, 0), each) for each in reversed(shown)]
    others = now.total - sum(band.things for band in bands)
    if len(most_things) > len(shown):
        bands.append(Band(OTHERS, "c-rest", others, ""))
    return Fleet(bars, bands, _day((at // 86_400 - days + 1) * 86_400), _day(at), tallest, now.total)


def line(readings: list[Kept], interval_s: int) -> Line | None:
    """The picture of these readings; None when there are fewer than two numbers among them."""
    points = [
        (datetime.fromisoformat(each.at).timestamp(), float(each.value))
        for each in readings
        if isinstance(each.value, int | float) and not isinstance(each.value, bool)
    ]
    if len(points) < 2:
        return None
    low, high = min(value for _, value in points), max(value for _, value in points)
    first_s, last_s = points[0][0], points[-1][0]
    span = max(high - low, 1e-9)
    width_s = max(last_s - first_s, 1)
    runs: list[list[tuple[float, float]]] = []
    before_s = -float("inf")
    for at_s, value in points:
        if at_s - before_s > _GAP_S * interval_s:
            runs.append([])
        # A flat line lies in the middle.
        y = HEIGHT / 2 if high == low else HEIGHT - (value - low) / span * HEIGHT
        runs[-1].append((round((at_s - first_s) / width_s * WIDTH, 1), round(y, 1)))
        before_s = at_s
    return Line(
        pieces=[" ".join(f"{x},{y}" for x, y in run) for run in runs if len(run) > 1],
        dots=[run[0] for run in runs if len(run) == 1],
        low=low,
        high=high,
        newest=points[-1][1],
        first=_minute(first_s),
        last=_minute(last_s),
        count=len(points),
    )


def _colour(version_id: str, numbers: dict[str, int]) -> str:
    return "c-none" if version_id == NONE else f"c{numbers.get(version_id, 0) % _COLOURS}"


def _name(version_id: str, numbers: dict[str, int]) -> str:
    if version_id == NONE:
        return "none yet"
    return f"version {numbers[version_id]}" if version_id in numbers else "removed"


def _day(at: int) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%-d %b")


def _minute(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%-d %b %H:%M")

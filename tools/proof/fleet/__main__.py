"""`python -m tools.proof.fleet`: many thermometers come back at the same second against one server that first refuses.

The agent's own main loop, once per device, on virtual time (see simulation.py); with its jitter, and without. Then
some of them live through a day without a server.
"""

import argparse
import sys
from collections import Counter
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from tools.arguments import count
from tools.proof.fleet import picture
from tools.proof.fleet.simulation import Fleet, Outcome, Server
from tools.twin.paths import ROOT

_LIMIT_S = 3600
_DEVICES_MAX = 10_000
_DAY_S = 86_400
_FIRST_TRIES_S = 600
_RESTARTS_A_DAY_MAX = 6


def main() -> int:
    options = _parse()
    console = Console()
    fleet = Fleet(options.device)
    capacity = options.capacity or max(options.n // 20, 2)
    outcomes: dict[str, Outcome] = {}
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        for title, jitter in (("with jitter", True), ("without jitter", False)):
            task = progress.add_task(f"{title}: in step", total=options.n)
            outcomes[title] = fleet.run(
                options.n,
                Server(capacity),
                options.seed,
                jitter,
                _LIMIT_S,
                partial(_advance, progress, task),
            )
    _print_table(console, outcomes)
    server = Server(capacity)
    console.print(
        f"{options.n} thermometers, seed {options.seed}; the server refuses connections for {server.opens_s} s, "
        f"answers 503 until {server.recovers_s} s, then serves {capacity} requests per second",
        highlight=False,
    )
    if options.picture:
        picture.draw(options.picture, outcomes)
        console.print(f"drawn: {options.picture}", highlight=False)
    storm = _live_through_a_day(fleet, options, console) if options.day else ""
    missing = options.n - len(outcomes["with jitter"].in_step_s)
    if missing:
        console.print(f"{missing} thermometers never came in step", highlight=False)
    if storm:
        console.print(storm, highlight=False)
    return 1 if missing or storm else 0


def _live_through_a_day(fleet: Fleet, options: argparse.Namespace, console: Console) -> str:
    """Let some thermometers be without their server for a day, and say how that went; what is wrong with it, or "" ."""
    server = Server(max(options.day // 5, 2), _DAY_S, _DAY_S, _DAY_S)
    outcome = fleet.run(options.day, server, options.seed, True, _DAY_S + 2 * _LIMIT_S, lambda count: None)
    restarts = len(outcome.restarts_s) / options.day
    minutes = Counter(int(at_s // 60) for at_s in outcome.restarts_s)
    asked = sum(count for at_s, count in server.refused.items() if at_s < _DAY_S) / options.day
    peak = max(count for at_s, count in server.refused.items() if _FIRST_TRIES_S < at_s < _DAY_S)
    table = Table("a day without a server", f"{options.day} thermometers")
    for cells in (
        ("restarts of each", f"{restarts:.1f}"),
        ("at the most in one minute", f"{max(minutes.values(), default=0)}"),
        ("requests of each in an hour", f"{asked / 24:.0f}"),
        ("requests per second, peak after the first minutes", str(peak)),
        ("in step again", f"{len(outcome.in_step_s)} of {options.day}"),
        ("99 % in step after the server is back", picture.minutes_text((outcome.share_s(0.99) or 0) - _DAY_S)),
    ):
        table.add_row(*cells)
    console.print(table)
    if restarts > _RESTARTS_A_DAY_MAX:
        return f"a storm of restarts: {restarts:.1f} a day"
    return "" if len(outcome.in_step_s) == options.day else "some never came in step again"


def _advance(progress: Progress, task: TaskID, count: int) -> None:
    progress.update(task, completed=count)


def _print_table(console: Console, outcomes: dict[str, Outcome]) -> None:
    table = Table("", *outcomes)
    for cells in zip(*map(_figures, outcomes.values()), strict=True):
        table.add_row(cells[0][0], *(value for _, value in cells))
    console.print(table)


def _figures(outcome: Outcome) -> list[tuple[str, str]]:
    """What the table says about a run."""
    server = outcome.server
    seconds = set(server.served) | set(server.refused)
    refused = sum(server.refused.values())
    requests = sum(server.served.values()) + refused
    peak = max(server.served.get(second, 0) + server.refused.get(second, 0) for second in seconds)
    average = requests / max(outcome.ended_s, 1)
    almost_s = outcome.share_s(0.99)
    return [
        ("in step", f"{len(outcome.in_step_s)} of {outcome.devices}"),
        ("99 % in step after", picture.minutes_text(almost_s) if almost_s is not None else "never"),
        ("watched for", picture.minutes_text(outcome.ended_s)),
        ("requests", str(requests)),
        ("of these refused", f"{refused * 100 // requests} %"),
        ("requests per second, average", f"{average:.1f}"),
        ("requests per second, peak", str(peak)),
        ("peak / average", f"{peak / average:.0f}"),
    ]


class _Parser(argparse.ArgumentParser):
    def error(self, message: str):
        self.exit(2, f"fleet: {message}\n")


def _parse() -> argparse.Namespace:
    parser = _Parser(prog="python -m tools.proof.fleet", description=__doc__)
    parser.add_argument("--n", type=count, default=1000, metavar="N", help="thermometers (1000)")
    parser.add_argument("--seed", type=int, default=1, help="of the agents' random numbers (1)")
    parser.add_argument("--capacity", type=count, metavar="N", help="requests per second the server can take (N / 20)")
    parser.add_argument("--day", type=int, default=50, metavar="N", help="thermometers without a server for a day (50)")
    parser.add_argument("--picture", type=Path, metavar="FILE.svg", help="draw the requests over time")
    parser.add_argument("--device", type=Path, default=ROOT / "device", help="the agent's files")
    options = parser.parse_args()
    if options.n > _DEVICES_MAX:
        parser.error(f"--n {options.n} is more than {_DEVICES_MAX}")
    if not 0 <= options.day <= _DEVICES_MAX:
        parser.error(f"--day {options.day} is not within 0 and {_DEVICES_MAX}")
    if not (options.device / "main.py").is_file():
        parser.error(f"--device {options.device} holds no main.py")
    return options


if __name__ == "__main__":
    sys.exit(main())

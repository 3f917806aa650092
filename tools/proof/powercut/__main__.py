"""`python -m tools.proof.powercut`: cut the power at every flash operation of every story, and in the recovery.

The agent runs in this process (see rig.py); the same cuts are sampled on the real MicroPython VM by `--vm`.
"""

import argparse
import multiprocessing
import os
import random
import sys
from collections import Counter, defaultdict
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from tools.proof.powercut import rig
from tools.proof.powercut.sweep import KINDS, STORIES, Cut, Outcome, Setting, Story, first_cuts
from tools.twin.paths import ROOT, VM

_stories: dict[str, Story] = {}


def main() -> int:
    options = _parse()
    rig.load(options.device)
    setting = Setting(options.image_bytes, options.seed)
    if options.cut:
        outcome = Story(options.story[0], setting).run(tuple(options.cut))
        print(outcome.console, end="")
        print(f"violated: {outcome.problem}" if outcome.problem else "recovered")
        return 1 if outcome.problem else 0
    if options.vm and not VM.exists():
        print("no MicroPython VM for this machine: its sample is left out")
        options.vm = 0
    return sweep(options.story or list(STORIES), setting, options)


def sweep(names: list[str], setting: Setting, options: argparse.Namespace) -> int:
    """All first cuts, then sampled pairs; prints the table; 1 at the first violation."""
    console = Console(stderr=False)
    for name in names:
        _stories[name] = Story(name, setting)
        outcome = _stories[name].run()
        if outcome.problem:
            console.print(outcome.console, markup=False, highlight=False)
            console.print(f"{name}, without a cut, seed {setting.seed}: {outcome.problem}")
            return 1
    singles = {name: list(first_cuts(_stories[name])) for name in names}
    places = Counter((name, kind) for name, cuts in singles.items() for _, kind in cuts)
    if options.sample:
        chosen = random.Random(setting.seed)
        singles = {name: chosen.sample(cuts, min(options.sample, len(cuts))) for name, cuts in singles.items()}
    jobs = [(name, (cut,)) for name, cuts in singles.items() for cut in cuts]
    rows: dict[tuple[str, str], list[Outcome]] = defaultdict(list)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with (
        multiprocessing.Pool(options.jobs, _prepare, (options.device, setting, names)) as pool,
        Progress(*columns, console=console) as progress,
    ):
        singles_done = _play(pool, progress, "one cut", jobs)
        pairs = _pairs(singles_done, setting.seed, options.pairs)
        pairs_done = _play(pool, progress, "two cuts", pairs)
        vm_done = []
        if options.vm and pairs_done:
            from tools.proof.powercut import vm  # with the server, which takes a second to import

            vm_done = vm.play(progress, options.vm, setting, options.jobs)
    if options.picture:
        from tools.proof.powercut import timeline

        timeline.draw(options.picture, setting)
    for outcome in vm_done:
        rows["factory, on the VM", outcome.cuts[0][1]].append(outcome)
    for outcome in singles_done + pairs_done:
        rows[outcome.story, "two cuts" if len(outcome.cuts) == 2 else outcome.cuts[0][1]].append(outcome)
    bad = [outcome for outcome in singles_done + pairs_done + vm_done if outcome.problem]
    _print_table(console, rows, places)
    if not bad:
        tried = len(singles_done) + len(pairs_done) + len(vm_done)
        console.print(f"{tried} cuts, {tried} recovered (seed {setting.seed}, images of {setting.image_bytes} bytes)")
        return 0
    for outcome in bad[:1]:
        if outcome in vm_done:
            console.print(outcome.console, markup=False, highlight=False)
            console.print(f"on the MicroPython VM, cut at {outcome.cuts}: {outcome.problem}")
            return 1
        cuts = " ".join(f"{number}:{kind}" for number, kind in outcome.cuts)
        console.print(f"{outcome.story}, cut at {cuts}, seed {setting.seed}: {outcome.problem}")
        again = f'STORY={outcome.story} CUT="{cuts}" SEED={setting.seed} IMAGE_BYTES={setting.image_bytes}'
        console.print(f"again, with its console: make powercut {again}", soft_wrap=True)
    return 1


def _play(pool, progress: Progress, title: str, jobs: list) -> list[Outcome]:
    """Play the jobs; in their order, up to and including the first violation."""
    done = []
    task = progress.add_task(title, total=len(jobs))
    for outcome in pool.imap(_job, jobs, chunksize=16):
        done.append(outcome)
        progress.advance(task)
        if outcome.problem:
            break
    return done


def _pairs(singles: list[Outcome], seed: int, count: int) -> list[tuple[str, tuple[Cut, Cut]]]:
    """`count` second cuts: each during the recovery from a first one."""
    chosen = random.Random(seed)
    candidates = [outcome for outcome in singles if len(outcome.operations) == 2 and outcome.operations[1]]
    if not candidates or any(outcome.problem for outcome in singles):
        return []
    pairs: set[tuple[str, tuple[Cut, Cut]]] = set()
    limit = sum(outcome.operations[1] * 3 for outcome in candidates)
    while len(pairs) < min(count, limit):
        first = chosen.choice(candidates)
        second = (chosen.randrange(first.operations[1]), chosen.choice(KINDS[:3]))
        pairs.add((first.story, (first.cuts[0], second)))
    return sorted(pairs)


def _prepare(device: Path, setting: Setting, names: list[str]) -> None:
    if _stories.keys() != set(names):  # a forked process has them already
        rig.load(device)
        _stories.update({name: Story(name, setting) for name in names})


def _job(job: tuple[str, tuple[Cut, ...]]) -> Outcome:
    name, cuts = job
    outcome = _stories[name].run(cuts)
    if not outcome.problem:
        outcome.console = ""
    return outcome


def _print_table(console: Console, rows: dict[tuple[str, str], list[Outcome]], places: Counter) -> None:
    """`places` are the flash operations of each story; for cuts of the conversation, its requests."""
    table = Table("story", "kind of cut", "operations", "cuts tried", "recovered", "most boots")
    for (story, kind), outcomes in rows.items():
        recovered = sum(outcome.problem is None for outcome in outcomes)
        most = max(outcome.boots for outcome in outcomes)
        operations = places[story, kind] or ""
        table.add_row(story, kind, str(operations), str(len(outcomes)), str(recovered), str(most))
    console.print(table)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str):
        self.exit(2, f"powercut: {message}\n")


def _parse() -> argparse.Namespace:
    parser = _Parser(prog="python -m tools.proof.powercut", description=__doc__)
    parser.add_argument("--story", action="append", choices=list(STORIES), help="this story (default: all)")
    parser.add_argument("--cut", action="append", type=_cut, metavar="N:KIND", help="replay: this cut; twice for two")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--image-bytes", type=int, default=20_000, metavar="N", help="size of the new image, up to 60000"
    )
    parser.add_argument("--pairs", type=int, default=2400, metavar="N", help="second cuts to sample")
    parser.add_argument("--sample", type=int, metavar="N", help="at most N first cuts of each story")
    parser.add_argument(
        "--jobs", type=int, default=os.cpu_count(), metavar="N", help="processes (default: one per core)"
    )
    parser.add_argument("--vm", type=int, default=0, metavar="N", help="cuts to sample on the MicroPython VM")
    parser.add_argument("--picture", type=Path, metavar="FILE.svg", help="draw one update's operations and their cuts")
    parser.add_argument("--device", type=Path, default=ROOT / "device", help="the agent's files")
    options = parser.parse_args()
    if options.cut and len(options.story or []) != 1:
        parser.error("a replay needs one --story")
    if not 600 <= options.image_bytes <= 60_000:
        parser.error(f"--image-bytes {options.image_bytes} is not within 600 and 60000")
    return options


def _cut(text: str) -> Cut:
    number, _, kind = text.partition(":")
    if not number.isdigit() or kind not in KINDS:
        raise argparse.ArgumentTypeError(f"{text!r} is no cut like 57:torn ({', '.join(KINDS)})")
    return int(number), kind


if __name__ == "__main__":
    sys.exit(main())

"""`make fuzz`: a hundred thousand generated cases, or as many as asked for, the same ones for the same seed."""

import argparse
import gc
import os
import sys
import time
import traceback
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from tools.arguments import count
from tools.twin.paths import make_importable

_BATCH_CASES = 500


@dataclass(frozen=True)
class Batch:
    """Some cases of one property, drawn from a seed of their own."""

    name: str
    seed: int
    cases: int


def main() -> int:
    options = _parse()
    names, shares = _shares(options.only)
    start = time.monotonic()
    done = dict.fromkeys(names, 0)
    wanted = {name: -(-options.cases * share // sum(shares)) for name, share in zip(names, shares, strict=True)}
    columns = (TextColumn("{task.description:12}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress, ProcessPoolExecutor(options.jobs) as pool:
        bars = {name: progress.add_task(name, total=wanted[name]) for name in names}
        batches = _batches(wanted, options.seed)
        running: dict[Future, Batch] = {}
        while True:
            while len(running) < options.jobs and (batch := next(batches, None)):
                running[pool.submit(run, batch)] = batch
            if not running:
                break
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                batch = running.pop(future)
                cases, failure = future.result()
                if failure:
                    pool.shutdown(cancel_futures=True)
                    progress.stop()
                    again = f"make fuzz ONLY={batch.name} SEED={batch.seed} CASES={batch.cases}"
                    print(f"{failure}\nfuzz: {batch.name} fails; again: {again}")
                    return 1
                done[batch.name] += cases
                progress.update(bars[batch.name], completed=done[batch.name])
    summary = ", ".join(f"{name} {count}" for name, count in done.items())
    print(f"{sum(done.values())} cases in {time.monotonic() - start:.0f} s: {summary}")
    return 0


def run(batch: Batch) -> tuple[int, str | None]:
    """Try the cases of a batch: how many there were, and what failed, if anything did."""
    import hypothesis

    make_importable()
    from tools.proof import generated
    from tools.proof.fuzz.properties import PROPERTIES

    generated.same_everywhere()
    found = PROPERTIES[batch.name]
    cases = 0

    @hypothesis.seed(batch.seed)
    @hypothesis.settings(
        max_examples=batch.cases,
        database=None,
        deadline=None,
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(found.strategy)
    def check(example):
        nonlocal cases
        cases += 1
        found.check(example)

    gc.collect()
    gc.freeze()  # the agent collects garbage after each phase, and there is much here that is none
    try:
        check()
    except Exception:  # whatever it is, it is what we are looking for
        return cases, traceback.format_exc()
    return cases, None


def _batches(wanted: dict[str, int], seed: int) -> Iterator[Batch]:
    """Batches, the properties by turns, until each has had its cases."""
    given = dict.fromkeys(wanted, 0)
    while any(given[name] < wanted[name] for name in wanted):
        for name in wanted:
            cases = min(_BATCH_CASES, wanted[name] - given[name])
            if cases > 0:
                given[name] += cases
                yield Batch(name, seed, cases)
        seed += 1


def _shares(only: str | None) -> tuple[list[str], list[int]]:
    make_importable()
    from tools.proof.fuzz.properties import PROPERTIES

    if only and only not in PROPERTIES:
        _Parser(prog="fuzz").error(f"{only!r} is none of {', '.join(PROPERTIES)} (ONLY=...)")
    names = [only] if only else list(PROPERTIES)
    return names, [PROPERTIES[name].share for name in names]


class _Parser(argparse.ArgumentParser):
    def error(self, message: str):
        self.exit(2, f"fuzz: {message}\n")


def _parse() -> argparse.Namespace:
    parser = _Parser(prog="python -m tools.proof.fuzz", description=__doc__)
    parser.add_argument("--cases", type=count, default=100_000)
    parser.add_argument("--seed", type=count, default=1)
    parser.add_argument("--only", metavar="PROPERTY")
    parser.add_argument("--jobs", type=count, default=os.cpu_count())
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())

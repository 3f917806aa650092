"""`make mutants`: mistakes a careless engineer could commit, each made in a copy of the agent; the proof must notice.

A mutant is caught by the power-cut sweep or by the logic tests. One that survives both is a missing test.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.progress import Progress
from rich.table import Table

from tools.proof.mutants.change import ChangeError, Mutant
from tools.proof.mutants.mistakes import MUTANTS
from tools.twin.paths import ROOT

_TIMEOUT_S = 1800  # a whole sweep beside other work
_ROOMS = ("device/agent/", "device/gadgetkeeper/", "device/ota/")


def main() -> int:
    """Make every mistake. 0: each was noticed, 1: one was not, 2: wrong arguments, or a mistake has lost its place."""
    argparse.ArgumentParser(prog="python -m tools.proof.mutants", description=__doc__).parse_args()
    try:
        for mutant in MUTANTS:
            mutant.make((ROOT / mutant.file).read_text())
    except ChangeError as error:
        print(f"mutants: {error}", file=sys.stderr)
        return 2
    with Progress(console=Console()) as progress, ThreadPoolExecutor(os.cpu_count()) as pool:
        task = progress.add_task("mutants", total=len(MUTANTS))

        def play(mutant: Mutant) -> str | None:
            caught = _caught_by(mutant)
            progress.print(f"{mutant.mistake}: {caught or 'NOTHING'}", markup=False, highlight=False)
            progress.advance(task)
            return caught

        results = list(pool.map(play, MUTANTS))
    table = Table("mistake", "caught by")
    for mutant, caught in zip(MUTANTS, results, strict=True):
        table.add_row(mutant.mistake, escape(caught or "NOTHING"))
    Console().print(table)
    print(f"{len(MUTANTS)} mutants, {sum(caught is not None for caught in results)} caught")
    return 0 if all(results) else 1


def copy_with(mutant: Mutant, folder: Path) -> Path:
    """A copy of the agent in `folder`, boot.py beside it, with the mistake made; its folder `device`. ChangeError when
    the place of the mistake is not there exactly once."""
    device = folder / "device"
    shutil.copytree(ROOT / "device", device, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "boot.py", folder)
    path = folder / mutant.file
    path.write_text(mutant.make(path.read_text()))
    return device


def _caught_by(mutant: Mutant) -> str | None:
    """What notices the mistake: the first violated invariant, else the first failing test; None when nothing does."""
    with tempfile.TemporaryDirectory() as folder:
        device = copy_with(mutant, Path(folder))
        # The quickest first: the tests know the rooms, a few cuts of every story know what holds them together.
        proofs = [lambda: _tests(device), lambda: _sweep(device, "--sample", "14", "--pairs", "60")]
        if not mutant.file.startswith(_ROOMS):
            proofs.reverse()
        proofs.append(lambda: _sweep(device, "--pairs", "300"))
        return next(filter(None, (proof() for proof in proofs)), None)


def _sweep(device: Path, *how: str) -> str | None:
    done = _run(["tools.proof.powercut", "--device", str(device), "--jobs", "1", *how])
    if not done.returncode:
        return None
    return next(
        (line for line in done.stdout.splitlines() if ", cut at " in line or "without a cut" in line), "the sweep"
    )


def _tests(device: Path) -> str | None:
    command = [
        "pytest",
        "-q",
        "-x",
        "-p",
        "no:cacheprovider",
        "host_tests/unit",
    ]
    done = _run([*command, "-m", "not vm"], {"DEVICE_UNDER_TEST": str(device), "SIGNATURE_CASES": "6"})
    if not done.returncode:
        return None
    return next(line for line in done.stdout.splitlines() if line.startswith(("FAILED", "ERROR")))


def _run(module: list[str], variables: dict[str, str] | None = None) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", *module]
    environment = {**os.environ, "COLUMNS": "400", "PYTHONDONTWRITEBYTECODE": "1", **(variables or {})}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=_TIMEOUT_S)


if __name__ == "__main__":
    sys.exit(main())

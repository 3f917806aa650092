"""`make mutation`: have cosmic-ray change the device's code in every way it knows, and list what no test notices.

Each module is changed in a copy of its own. A change is noticed by the unit tests on CPython or by a few power cuts of
every story. What survives is a missing test, or a change that changes nothing: look at each.
"""

import argparse
import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from tools.arguments import count
from tools.twin.paths import ROOT

FOLDER = ROOT / "build" / "mutation"
_DEVICE = ROOT / "device"
_TIMEOUT_S = 120
_CONFIG = """
[cosmic-ray]
module-path = {module}
timeout = {timeout_s}
excluded-modules = []
test-command = {command}
[cosmic-ray.distributor]
name = "local"
"""


class MutationError(Exception):
    """The tests cannot judge; the text says why."""


@dataclass(frozen=True)
class Survivor:
    """A change that no test has noticed: where, by which operator, and as a diff."""

    module: str
    operator: str
    line: int
    diff: str


@dataclass(frozen=True)
class Outcome:
    """What became of the changes to one module."""

    module: str
    changes: int
    survivors: list[Survivor]


def main() -> int:
    options = _parse()
    modules = [path for path in _modules() if options.only in path.as_posix()]
    if not modules:
        print(f"mutation: no module of device/ is named like {options.only!r} (ONLY=...)", file=sys.stderr)
        return 2
    shutil.rmtree(FOLDER, ignore_errors=True)
    outcomes = []
    try:
        with Progress(console=Console(stderr=True)) as progress, ThreadPoolExecutor(options.jobs) as pool:
            task = progress.add_task("modules", total=len(modules))
            for outcome in pool.map(lambda module: _judge(module, options.every), modules):
                outcomes.append(outcome)
                progress.advance(task)
                noticed = outcome.changes - len(outcome.survivors)
                progress.print(f"{outcome.module}: {noticed} of {outcome.changes} noticed")
    except MutationError as error:
        print(f"mutation: {error}", file=sys.stderr)
        return 1
    survivors = [survivor for outcome in outcomes for survivor in outcome.survivors]
    report = FOLDER / "survivors.txt"
    report.write_text("\n".join(f"{each.module}:{each.line} {each.operator}\n{each.diff}" for each in survivors))
    total = sum(outcome.changes for outcome in outcomes)
    print(f"{total} changes, {total - len(survivors)} noticed, {len(survivors)} not: {report.relative_to(ROOT)}")
    return 0


def _modules() -> list[Path]:
    return [path.relative_to(_DEVICE) for path in sorted(_DEVICE.rglob("*.py")) if path.read_text().count("\n") > 3]


def _judge(module: Path, every: int) -> Outcome:
    """Change one module in all ways, or in every so-manieth, and see who notices."""
    folder = FOLDER / module.with_suffix("")
    device = folder / "device"
    shutil.copytree(_DEVICE, device, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "boot.py", folder)
    config, session = folder / "cosmic-ray.toml", folder / "session.sqlite"
    values = {"module": str(device / module), "command": shlex.join(["bash", "-c", _tests(device)])}
    config.write_text(
        _CONFIG.format(timeout_s=_TIMEOUT_S, **{name: json.dumps(value) for name, value in values.items()})
    )
    if subprocess.run(
        ["bash", "-c", _tests(device)], cwd=ROOT, env=_environment(device), capture_output=True
    ).returncode:
        raise MutationError("the tests fail without any change: see `make test`")
    _cosmic_ray(device, "init", config, session)
    if every > 1:
        _thin_out(session, every)
    _cosmic_ray(device, "exec", config, session)
    results = list(_results(device, session))
    return Outcome(module.as_posix(), len(results), [found for found in results if found])


def _tests(device: Path) -> str:
    """The command that judges a change, the quickest tests first."""
    python = shlex.quote(sys.executable)
    units = f"{python} -m pytest -q -x -p no:cacheprovider -p no:xdist -m 'not vm' host_tests/unit"
    sweep = f"{python} -m tools.proof.powercut --device {shlex.quote(str(device))} --jobs 1 --sample 4 --pairs 8"
    return f"{units} && {sweep} --image-bytes 13000"


def _environment(device: Path) -> dict[str, str]:
    return {
        **os.environ,
        "DEVICE_UNDER_TEST": str(device),
        "PYTHONDONTWRITEBYTECODE": "1",
        "SIGNATURE_CASES": "6",
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }


def _cosmic_ray(device: Path, *arguments: object) -> str:
    command = [str(Path(sys.executable).parent / "cosmic-ray"), *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, env=_environment(device), capture_output=True, text=True)
    if done.returncode:
        raise MutationError(f"cosmic-ray {arguments[0]}: {done.stderr.strip()[-500:]}")
    return done.stdout


def _thin_out(session: Path, every: int) -> None:
    """Leave every so-manieth change in the session, spread over the module."""
    import sqlite3

    with sqlite3.connect(session) as records:
        rows = records.execute("SELECT job_id FROM mutation_specs ORDER BY start_pos_row, start_pos_col, job_id")
        for number, (job_id,) in enumerate(rows.fetchall()):
            if number % every:
                records.execute("DELETE FROM mutation_specs WHERE job_id = ?", (job_id,))
                records.execute("DELETE FROM work_items WHERE job_id = ?", (job_id,))


def _results(device: Path, session: Path) -> Iterator[Survivor | None]:
    """For each change the survivor, or None for one that was noticed."""
    for line in _cosmic_ray(device, "dump", session).splitlines():
        item, result = json.loads(line)
        if result is None or result["test_outcome"] != "survived":
            yield None
            continue
        mutation = item["mutations"][0]
        module = Path(mutation["module_path"]).relative_to(device).as_posix()
        yield Survivor(module, mutation["operator_name"], mutation["start_pos"][0], result["diff"] or "")


class _Parser(argparse.ArgumentParser):
    def error(self, message: str):
        self.exit(2, f"mutation: {message}\n")


def _parse() -> argparse.Namespace:
    parser = _Parser(prog="python -m tools.proof.mutation", description=__doc__)
    parser.add_argument("--only", default="", metavar="NAME", help="modules whose path holds this")
    parser.add_argument("--every", type=count, default=1, help="try every so-manieth change only")
    parser.add_argument("--jobs", type=count, default=os.cpu_count())
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())

"""`make mutants`: mistakes a careless engineer could commit, each made in a copy of the agent; the proof must notice.

A mutant is caught by the power-cut sweep or by the logic tests. One that survives both is a missing test.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

ROOT = Path(__file__).resolve().parent.parent
_TIMEOUT_S = 300


@dataclass(frozen=True)
class Mutant:
    """One mistake: in `file`, `old` (which must stand there exactly once) becomes `new`."""

    mistake: str
    file: str
    old: str
    new: str


UPDATE, SLOTS, STORE = (f"device/gadgetkeeper/{name}.py" for name in ("update", "slots", "store"))
MAIN, BOARD, BOOT = "device/main.py", "device/board.py", "boot.py"

MUTANTS = [
    Mutant(
        "the intent is not on flash before the first erase",
        UPDATE,
        "        self._keep_update(version_id, slot, attempts)\n",
        "",
    ),
    Mutant(
        "the new version's Id is stored before its trial",
        UPDATE,
        "            self._slots.arm(slot)\n",
        "            self._store.keep(versionId=version_id)\n            self._slots.arm(slot)\n",
    ),
    Mutant(
        "the attempt is counted after the slot is armed",
        UPDATE,
        "            self._keep_update(version_id, slot, attempts + 1, image.fingerprint(slot))\n"
        "            self._slots.arm(slot)\n",
        "            self._slots.arm(slot)\n"
        "            self._keep_update(version_id, slot, attempts + 1, image.fingerprint(slot))\n",
    ),
    Mutant("attempts are not counted", UPDATE, "attempts + 1, image.fingerprint(slot))", "1, image.fingerprint(slot))"),
    Mutant("the slot is armed unchecked", UPDATE, "        image.check_slot(slot, size_bytes, buffer)\n", ""),
    Mutant(
        "an image left in the slot is armed again unchecked",
        UPDATE,
        "            image.check_slot(slot, None, buffer)\n",
        "            pass\n",
    ),
    Mutant(
        "a trial is taken for a proven firmware", UPDATE, "self.on_trial = slots.on_trial()", "self.on_trial = False"
    ),
    Mutant(
        "the record's claim is not bound to a slot",
        UPDATE,
        'return claim.get("slot") == self._running and claim.get("image") == self._image',
        'return claim.get("image") == self._image',
    ),
    Mutant(
        "an update is taken for confirmed once it runs",
        UPDATE,
        "image=self._image, confirmed=False, update=None",
        "image=self._image, confirmed=True, update=None",
    ),
    Mutant(
        "a version that failed is forgotten instead of given up",
        UPDATE,
        'if update.get("versionId") == version_id and update["attempts"] >= _ATTEMPTS_MAX:\n'
        "            self._store.keep(quarantined=version_id, update=None)",
        'if update.get("versionId") == version_id and update["attempts"] >= _ATTEMPTS_MAX:\n'
        "            self._store.keep(update=None)",
    ),
    Mutant(
        "set_boot is called twice",
        SLOTS,
        "            slot.set_boot()\n",
        "            slot.set_boot(), slot.set_boot()\n",
    ),
    Mutant("the free slot is written while on trial", SLOTS, "        if self.on_trial():\n", "        if False:\n"),
    Mutant("a fall-back of the boot loader is ignored", SLOTS, "        self._hold_running()\n", ""),
    Mutant(
        "the mark is not read back",
        SLOTS,
        "        if self.state(self.running) != VALID:\n",
        "        if False:\n",
    ),
    Mutant(
        "whatever otadata chooses is marked valid",
        SLOTS,
        "        if not self._same(self.chosen(), self.running):\n            raise",
        "        if False:\n            raise",
    ),
    Mutant(
        "the record is written in place",
        STORE,
        'with open(self._root + "state.new", "w") as file:\n                file.write(text)\n'
        '            os.rename(self._root + "state.new", self._root + "state.json")\n',
        'with open(self._root + "state.json", "w") as file:\n                file.write(text)\n',
    ),
    Mutant(
        "the record is written though nothing changed",
        STORE,
        "        if text == self._saved:\n            return\n",
        "",
    ),
    Mutant(
        "the firmware is proven before it has reached the server",
        MAIN,
        "    target, name = api.target_version()\n    update = Update(store, Slots(board.Partition))\n",
        "    update = Update(store, Slots(board.Partition))\n    if update.on_trial:\n        update.prove()\n"
        "        board.end_trial()\n    target, name = api.target_version()\n",
    ),
    Mutant("the key is not stored", MAIN, "        store.keep_credentials(api.thing_id, api.api_key)\n", ""),
    Mutant("the rename is not remembered", MAIN, "        store.keep(renamed=True)\n", ""),
    Mutant(
        "the confirmation is noted before it is made",
        MAIN,
        "        api.confirm(target)\n        store.keep(confirmed=True)\n",
        "        store.keep(confirmed=True)\n        api.confirm(target)\n",
    ),
    Mutant("the watchdog is fed during a trial", BOARD, "if watchdog and _trial_over:", "if watchdog:"),
    Mutant("no watchdog guards the trial", BOOT, "return machine.WDT(timeout=120_000)", "return None"),
]


def main() -> int:
    with Progress(console=Console()) as progress, ThreadPoolExecutor(os.cpu_count()) as pool:
        task = progress.add_task("mutants", total=len(MUTANTS))

        def play(mutant: Mutant) -> str | None:
            caught = _caught_by(mutant)
            progress.advance(task)
            return caught

        results = list(pool.map(play, MUTANTS))
    table = Table("mistake", "caught by")
    for mutant, caught in zip(MUTANTS, results, strict=True):
        table.add_row(mutant.mistake, caught or "NOTHING")
    Console().print(table)
    print(f"{len(MUTANTS)} mutants, {sum(caught is not None for caught in results)} caught")
    return 0 if all(results) else 1


def _caught_by(mutant: Mutant) -> str | None:
    """What notices the mistake: the first violated invariant, else the first failing test; None when nothing does."""
    with tempfile.TemporaryDirectory() as folder:
        device = Path(folder) / "device"
        shutil.copytree(ROOT / "device", device, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / "boot.py", folder)
        path = Path(folder) / mutant.file
        text = path.read_text()
        if text.count(mutant.old) != 1:
            raise SystemExit(
                f"mutants: {mutant.mistake}: its line stands {text.count(mutant.old)} times in {mutant.file}"
            )
        path.write_text(text.replace(mutant.old, mutant.new))
        sweep = _run(["tools.powercut", "--device", str(device), "--pairs", "300", "--jobs", "1"])
        if sweep.returncode:
            return next(line for line in sweep.stdout.splitlines() if ", cut at " in line or "without a cut" in line)
        tests = ["pytest", "-q", "-x", "-p", "no:cacheprovider", "host_tests/test_logic.py", "-k", "test_cpython"]
        suite = _run(tests, {"DEVICE_UNDER_TEST": str(device)})
        if suite.returncode:
            return next(line for line in suite.stdout.splitlines() if line.startswith(("FAILED", "ERROR")))
    return None


def _run(module: list[str], variables: dict[str, str] | None = None) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", *module]
    environment = {**os.environ, "COLUMNS": "400", "PYTHONDONTWRITEBYTECODE": "1", **(variables or {})}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=_TIMEOUT_S)


if __name__ == "__main__":
    sys.exit(main())

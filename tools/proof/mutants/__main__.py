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
from rich.markup import escape
from rich.progress import Progress
from rich.table import Table

ROOT = Path(__file__).resolve().parents[3]
_TIMEOUT_S = 300


@dataclass(frozen=True)
class Mutant:
    """One mistake: in `file`, `old` (which must stand there exactly once) becomes `new`."""

    mistake: str
    file: str
    old: str
    new: str


(API, DOWNLOAD, FILES, INSTALL, SIGNATURE, SLOTS, STEPS, STORE, UPDATE) = (
    f"device/gadgetkeeper/{name}.py"
    for name in ("api", "download", "files", "install", "signature", "slots", "steps", "store", "update")
)
PACKAGE = "device/gadgetkeeper/__init__.py"
MAIN, BOARD, BOOT = "device/main.py", "device/board.py", "boot.py"

_KEEP_ARMED = '    keep(state, update=dict(update, attempts=attempts, phase="armed", image=image), quarantined=None)\n'
_ARM = "    _judge(job, Slots(board.Partition).arm, slot)\n"
_CHECK = "    _judge(job, _check, job, size_bytes, other, keys, board.chip_revision(), view)\n"
_CHECK_HEAD = "        _judge(job, _check_head, head, least, job[2], job[3], revision)\n        forget()\n"
_NOTE_INTENT = "        end = _note_intent(job, head, etag, size)\n"
_AHEAD = "    ahead = 0 if end is None else _SECTOR_BYTES\n"
_ERASE = """\
            while erase_at <= done + ahead and (end is None or erase_at < end):
                slot.ioctl(_ERASE_BLOCK, erase_at // _SECTOR_BYTES)
                erase_at += _SECTOR_BYTES
"""
_PROGRAM = """\
            part = view if count == size else view[:count]
            slot.writeblocks(done // _SECTOR_BYTES, part, done % _SECTOR_BYTES)
"""

MUTANTS = [
    # The record
    Mutant(
        "the record is written in place",
        STORE,
        'with open(root + "state.new", "w") as file:\n            file.write(json.dumps(whole))\n'
        '        os.rename(root + "state.new", root + "state.json")\n',
        'with open(root + "state.json", "w") as file:\n            file.write(json.dumps(whole))\n',
    ),
    Mutant("the record is written though nothing changed", STORE, "    if not changed:\n        return\n", ""),
    Mutant(
        "a record that could not be written is not written later",
        STORE,
        '    state["unsaved"] = True\n',
        '    state["unsaved"] = False\n',
    ),
    Mutant(
        "an interrupted download in the record is not checked",
        FILES,
        '        "update": _is_update,\n',
        '        "update": lambda value: isinstance(value, dict),\n',
    ),
    # Identity
    Mutant(
        "the key of a thing that is known is not stored",
        STEPS,
        "    keep(state, thingId=thing_id, apiKey=api_key, ",
        "    if not known:\n        keep(state, thingId=thing_id, apiKey=api_key, ",
    ),
    Mutant("the rename is not remembered", STEPS, "    keep(state, renamed=True)\n", ""),
    Mutant(
        "a dropped key is not met with another activation",
        MAIN,
        'if error.code not in ("key_dropped", "no_thing"):',
        'if error.code not in ("no_thing",):',
    ),
    Mutant(
        "forgetting the agent's modules drops the errors' classes, too",
        PACKAGE,
        'name.endswith((".errors", ".console"))',
        'name.endswith(".console")',
    ),
    # What runs
    Mutant(
        "the new version's Id is stored before its trial",
        INSTALL,
        _KEEP_ARMED,
        _KEEP_ARMED.replace("quarantined=None", "quarantined=None, versionId=update['versionId']"),
    ),
    Mutant(
        "the new version's Id is stored before the boot loader keeps it",
        UPDATE,
        "    slots.mark_valid()\n    if not _is_new",
        "    _settle(state, slots, runs)\n    slots.mark_valid()\n    if not _is_new",
    ),
    Mutant(
        "a trial is taken for a proven firmware", UPDATE, "    on_trial = slots.on_trial()\n", "    on_trial = False\n"
    ),
    Mutant(
        "the running image is not bound to a slot",
        UPDATE,
        'return claim.get("slot") == runs["slot"] and claim.get("image") == runs["image"]',
        'return claim.get("image") == runs["image"]',
    ),
    Mutant(
        "the record's claim is not bound to a slot",
        STEPS,
        'claim.get("slot") == runs["slot"] and claim.get("image") == runs["image"]',
        'claim.get("image") == runs["image"]',
    ),
    Mutant(
        "the record's claim is not bound to an image",
        STEPS,
        'claim.get("slot") == runs["slot"] and claim.get("image") == runs["image"]',
        'claim.get("slot") == runs["slot"]',
    ),
    Mutant(
        "a firmware on trial without a record borrows the server's old version",
        STEPS,
        'if "image" in state or on_trial:',
        'if "image" in state:',
    ),
    # The download
    Mutant(
        "the intent is not on flash before the first erase",
        INSTALL,
        '    keep(job[0], update=dict(job[1], phase="download", **resume), quarantined=None)\n',
        "",
    ),
    Mutant(
        "the intent is on flash before the image's head is judged",
        INSTALL,
        _CHECK_HEAD + _NOTE_INTENT,
        _NOTE_INTENT + _CHECK_HEAD,
    ),
    Mutant("the image's head is not judged before the first erase", INSTALL, _CHECK_HEAD, ""),
    Mutant(
        "what lies in the slot is believed to be the download's beginning",
        UPDATE,
        'if "etag" in update and update["slot"] != runs["slot"] and update["image"] == fingerprint(slot):',
        'if "etag" in update and update["slot"] != runs["slot"]:',
    ),
    Mutant(
        "no sector is erased ahead",
        DOWNLOAD,
        _AHEAD,
        "    ahead = 0\n",
    ),
    Mutant(
        "a sector is programmed before its successor is erased",
        DOWNLOAD,
        _ERASE + _PROGRAM,
        _ERASE.replace("done + ahead", "done") + _PROGRAM + _ERASE,
    ),
    Mutant(
        "a download goes on behind the last sector begun",
        DOWNLOAD,
        "return (block - 1) * _SECTOR_BYTES",
        "return block * _SECTOR_BYTES",
    ),
    Mutant(
        "a download starts over though it could go on",
        UPDATE,
        '        start = resume_at(slot, update["size"])\n',
        "        start = 0\n",
    ),
    Mutant("a download goes on with a file that has changed", API, '            ranged["If-Range"] = etag\n', ""),
    Mutant(
        "any part of the file is taken for the one asked for",
        API,
        '(reply.status_code == 206 and reply.headers.get("content-range") == rest)',
        "reply.status_code == 206",
    ),
    Mutant(
        "the attempts are counted anew when a download goes on",
        INSTALL,
        'begun["attempts"] if begun.get("versionId") == version_id and',
        'begun["attempts"] if begun.get("phase") != "download" and begun.get("versionId") == version_id and',
    ),
    # The judgement
    Mutant("the slot is armed unchecked", INSTALL, _CHECK, ""),
    Mutant(
        "an image left in the slot is armed again unchecked",
        INSTALL,
        _CHECK,
        "    if size_bytes is not None:\n    " + _CHECK,
    ),
    Mutant(
        "an image left in the slot may be another one",
        INSTALL,
        'other = state["update"].get("image", image) != image',
        "other = False",
    ),
    Mutant(
        "the hash is not compared when a signature is there",
        SIGNATURE,
        '        if bytes(block[_DIGEST_AT:_MODULUS_AT]) != digest:\n            raise RetryableError("wrong_hash")\n',
        "        digest = bytes(block[_DIGEST_AT:_MODULUS_AT])\n",
    ),
    Mutant(
        "anybody's signature will do",
        SIGNATURE,
        "        if key not in trusted:\n",
        "        if not key:\n",
    ),
    Mutant(
        "a damaged download is given up at once",
        INSTALL,
        "        if isinstance(error, FinalError):\n",
        "        if True:\n",
    ),
    # The trial
    Mutant("the attempt is counted after the slot is armed", INSTALL, _KEEP_ARMED + _ARM, _ARM + _KEEP_ARMED),
    Mutant(
        "attempts are not counted",
        INSTALL,
        'attempts = update["attempts"] + 1\n',
        "attempts = 1\n",
    ),
    Mutant(
        "a version gets one attempt too many",
        UPDATE,
        'if update["attempts"] >= _ATTEMPTS_MAX:',
        'if update["attempts"] > _ATTEMPTS_MAX:',
    ),
    Mutant(
        "set_boot is called twice",
        SLOTS,
        "            slot.set_boot()\n",
        "            slot.set_boot(), slot.set_boot()\n",
    ),
    Mutant(
        "a slot that is chosen already is chosen again",
        SLOTS,
        "        if _same(self.chosen(), slot):\n            return\n",
        "",
    ),
    Mutant("the free slot is written while on trial", SLOTS, "        if self.on_trial():\n", "        if False:\n"),
    Mutant("a fall-back of the boot loader is ignored", SLOTS, "        self._hold_running()\n", ""),
    Mutant(
        "after a fall-back the running firmware is put on trial",
        SLOTS,
        "            self.running.set_boot()\n            self._partition.mark_app_valid_cancel_rollback()\n",
        "            self.running.set_boot()\n",
    ),
    Mutant(
        "the mark is not read back",
        SLOTS,
        "            if self.state(self.running) == _VALID:\n",
        "            if True:\n",
    ),
    Mutant(
        "whatever otadata chooses is marked valid",
        SLOTS,
        "        if _same(self.chosen(), self.running):\n            self._partition",
        "        if True:\n            self._partition",
    ),
    Mutant("the chip is not restarted once the slot is armed", MAIN, "        board.reset()\n", ""),
    Mutant(
        "the firmware is proven before it has reached the server",
        MAIN,
        "    # 2. Initiate activation\n",
        "    if on_trial:\n        steps.prove(settings, state)\n        on_trial = False\n",
    ),
    Mutant(
        "the firmware is proven without measuring",
        STEPS,
        '    thermometer.read_celsius(settings["onewire_pin"])\n',
        "",
    ),
    Mutant("nobody feeds the watchdog after the trial", STEPS, "    board.end_trial()\n", ""),
    Mutant("the watchdog is fed during a trial", BOARD, "if watchdog and _trial_over:", "if watchdog:"),
    Mutant("no watchdog guards the trial", BOOT, "return machine.WDT(timeout=120_000)", "return None"),
    # What the server hears
    Mutant(
        "an update is taken for confirmed once it runs",
        UPDATE,
        "confirmed=False, update=None, verdict=done",
        "confirmed=True, update=None, verdict=done",
    ),
    Mutant(
        "the confirmation is noted before it is made",
        MAIN,
        "        api.confirm(target)\n        steps.keep(state, confirmed=True)\n",
        "        steps.keep(state, confirmed=True)\n        api.confirm(target)\n",
    ),
    Mutant("the verdict is reported for ever", STEPS, "    keep(state, verdict=None)\n", ""),
    Mutant(
        "the verdict is forgotten though the server has not heard it",
        STEPS,
        "            raise\n        return\n    keep(state, verdict=None)\n",
        "            raise\n    keep(state, verdict=None)\n",
    ),
    Mutant(
        "a roll-back is not noticed",
        UPDATE,
        'if update["phase"] == "armed" and slots.failed(update["slot"]):',
        "if False:",
    ),
    Mutant(
        "an aborted trial is no failure",
        SLOTS,
        "in (_PENDING_VERIFY, _INVALID, _ABORTED)",
        "in (_PENDING_VERIFY, _INVALID)",
    ),
    Mutant(
        "a version that failed is forgotten instead of given up",
        UPDATE,
        'keep(state, quarantined=update["versionId"], update=None,',
        "keep(state, update=None,",
    ),
    Mutant(
        "a version that was given up is tried again while it is the target",
        MAIN,
        'if state.get("quarantined") == target:',
        "if False:",
    ),
]


def main() -> int:
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
    """A copy of the agent in `folder`, boot.py beside it, with the mistake made; its folder `device`. SystemExit when
    the line of the mistake is not there exactly once."""
    device = folder / "device"
    shutil.copytree(ROOT / "device", device, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "boot.py", folder)
    path = folder / mutant.file
    text = path.read_text()
    count = text.count(mutant.old)
    if count != 1:
        raise SystemExit(f"mutants: {mutant.mistake}: its line stands {count} times in {mutant.file}")
    path.write_text(text.replace(mutant.old, mutant.new))
    return device


def _caught_by(mutant: Mutant) -> str | None:
    """What notices the mistake: the first violated invariant, else the first failing test; None when nothing does."""
    with tempfile.TemporaryDirectory() as folder:
        device = copy_with(mutant, Path(folder))
        # The quickest first: the tests know the package, a few cuts of every story know what holds it together.
        proofs = [lambda: _tests(device), lambda: _sweep(device, "--sample", "14", "--pairs", "60")]
        if "gadgetkeeper" not in mutant.file:
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

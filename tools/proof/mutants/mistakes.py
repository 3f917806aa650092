"""The list of mistakes. A new one is a line: what it is, where, and the construct that changes (see `change`)."""

from tools.proof.mutants.change import Mutant, always, remove, replace, replace_statement, swap

_PACKAGE = "device/gadgetkeeper"
_API, _INSTALL, _SLOTS = f"{_PACKAGE}/api.py", f"{_PACKAGE}/install.py", f"{_PACKAGE}/slots.py"
_STEPS, _STORE, _UPDATE = f"{_PACKAGE}/steps.py", f"{_PACKAGE}/store.py", f"{_PACKAGE}/update.py"
_DOWNLOAD = f"{_PACKAGE}/download.py"

_SAME_IMAGE = 'claim.get("image") == runs["image"]'
_SAME_SLOT = 'claim.get("slot") == runs["slot"]'
_CLAIM = f"{_SAME_SLOT} and {_SAME_IMAGE}"
_KEEP_ARMED = 'keep(state, update=dict(update, attempts=attempts, phase="armed", image=image), quarantined=None)'
_ARM = "_judge(job, Slots(board.Partition).arm, slot)"
_CHECK = "_judge(job, _check, job, size_bytes, other, keys, board.chip_revision(), view)"
_JUDGE_HEAD = "_judge(job, _check_head, head, least, job[2], job[3], revision)"
_NOTE_INTENT = "end = _note_intent(job, head, etag, size)"
_ERASE = "while erase_at <= done + ahead and (end is None or erase_at < end): ..."
_ERASE_AHEAD = """while erase_at <= done + ahead and (end is None or erase_at < end):
    slot.ioctl(_ERASE_BLOCK, erase_at // _SECTOR_BYTES)
    erase_at += _SECTOR_BYTES
"""
_ERASE_NO_MORE = _ERASE_AHEAD.replace("done + ahead", "done")
_PROGRAM = "slot.writeblocks(done // _SECTOR_BYTES, part, done % _SECTOR_BYTES)"
_PROVE_AT_ONCE = """if on_trial:
    steps.prove(settings, state)
    on_trial = False
"""

MUTANTS = [
    # The record
    Mutant(
        "the record is written in place",
        f"{_STORE}:keep",
        replace('open(root + "state.new", "w")', 'open(root + "state.json", "w")'),
    ),
    Mutant("the record is written though nothing changed", f"{_STORE}:keep", remove("if not changed: return")),
    Mutant(
        "a record that could not be written is not written later",
        f"{_STORE}:keep",
        replace_statement('state["unsaved"] = True', 'state["unsaved"] = False'),
    ),
    Mutant(
        "an interrupted download in the record is not checked",
        f"{_PACKAGE}/files.py:record",
        replace("_is_update", "bool"),
    ),
    # Identity
    Mutant(
        "the key of a thing that is known is not stored",
        f"{_STEPS}:activate",
        replace_statement("keep(...)", "if not known: keep(state, thingId=thing_id, apiKey=api_key)"),
    ),
    Mutant("the rename is not remembered", f"{_STEPS}:rename", remove("keep(state, renamed=True)")),
    Mutant(
        "a dropped key is not met with another activation",
        "device/main.py:keep_in_step",
        replace('("key_dropped", "no_thing")', '("no_thing",)'),
    ),
    Mutant(
        "forgetting the agent's modules drops the errors' classes, too",
        f"{_PACKAGE}/__init__.py:forget",
        replace('(".errors", ".console")', '".console"'),
    ),
    # What runs
    Mutant(
        "the new version's Id is stored before its trial",
        f"{_INSTALL}:arm",
        replace(_KEEP_ARMED, _KEEP_ARMED[:-1] + ', versionId=update["versionId"])'),
    ),
    Mutant(
        "the new version's Id is stored before the boot loader keeps it",
        f"{_UPDATE}:prove",
        replace_statement("slots.mark_valid()", "_settle(state, slots, runs)", "..."),
    ),
    Mutant("a trial is taken for a proven firmware", f"{_UPDATE}:settle", replace("slots.on_trial()", "False")),
    Mutant("the running image is not bound to a slot", f"{_UPDATE}:_is", replace(_CLAIM, _SAME_IMAGE)),
    Mutant("the record's claim is not bound to a slot", f"{_STEPS}:look_up_installed", replace(_CLAIM, _SAME_IMAGE)),
    Mutant("the record's claim is not bound to an image", f"{_STEPS}:look_up_installed", replace(_CLAIM, _SAME_SLOT)),
    Mutant(
        "a firmware on trial without a record borrows the server's old version",
        f"{_STEPS}:look_up_installed",
        replace('"image" in state or on_trial', '"image" in state'),
    ),
    # The download
    Mutant(
        "the intent is not on flash before the first erase",
        f"{_INSTALL}:_note_intent",
        remove('keep(job[0], update=dict(job[1], phase="download", **resume), quarantined=None)'),
    ),
    Mutant(
        "the intent is on flash before the image's head is judged",
        f"{_INSTALL}:begin",
        swap(_JUDGE_HEAD, _NOTE_INTENT),
    ),
    Mutant("the image's head is not judged before the first erase", f"{_INSTALL}:begin", remove(_JUDGE_HEAD)),
    Mutant(
        "what lies in the slot is believed to be the download's beginning",
        f"{_UPDATE}:settle",
        always(True, 'update["image"] == fingerprint(slot)'),
    ),
    Mutant("no sector is erased ahead", f"{_DOWNLOAD}:write", replace("0 if end is None else _SECTOR_BYTES", "0")),
    Mutant(
        "a sector is programmed before it is erased", f"{_DOWNLOAD}:write", replace_statement(_ERASE, _PROGRAM, "...")
    ),
    Mutant("a download goes on behind the last sector begun", f"{_DOWNLOAD}:resume_at", replace("block - 1", "block")),
    Mutant(
        "a download starts over though it could go on",
        f"{_UPDATE}:settle",
        replace('resume_at(slot, update["size"])', "0"),
    ),
    Mutant(
        "a download goes on with a file that has changed",
        f"{_API}:Api.firmware",
        remove('ranged["If-Range"] = etag'),
    ),
    Mutant(
        "any part of the file is taken for the one asked for",
        f"{_API}:Api.firmware",
        always(True, 'reply.headers.get("content-range") == rest'),
    ),
    Mutant(
        "the attempts are counted anew when a download goes on",
        f"{_INSTALL}:place",
        replace('begun["attempts"]', '0 if begun.get("phase") == "download" else begun["attempts"]'),
    ),
    # The judgement
    Mutant("the slot is armed unchecked", f"{_INSTALL}:arm", remove(_CHECK)),
    Mutant(
        "an image left in the slot is armed again unchecked",
        f"{_INSTALL}:arm",
        replace_statement(_CHECK, f"if size_bytes is not None: {_CHECK}"),
    ),
    Mutant(
        "an image left in the slot may be another one",
        f"{_INSTALL}:arm",
        always(False, 'state["update"].get("image", image) != image'),
    ),
    Mutant(
        "the hash is not compared when a signature is there",
        f"{_PACKAGE}/signature.py:check",
        replace_statement(
            "if bytes(block[_DIGEST_AT:_MODULUS_AT]) != digest: ...", "digest = bytes(block[_DIGEST_AT:_MODULUS_AT])"
        ),
    ),
    Mutant("anybody's signature will do", f"{_PACKAGE}/signature.py:check", replace("key not in trusted", "not key")),
    Mutant(
        "a damaged download is given up at once",
        f"{_INSTALL}:_judge",
        always(True, "isinstance(error, FinalError)"),
    ),
    # The trial
    Mutant("the attempt is counted after the slot is armed", f"{_INSTALL}:arm", swap(_KEEP_ARMED, _ARM)),
    Mutant("attempts are not counted", f"{_INSTALL}:arm", replace('update["attempts"] + 1', "1")),
    Mutant(
        "a version gets one attempt too many",
        f"{_UPDATE}:_settle",
        replace('update["attempts"] >= _ATTEMPTS_MAX', 'update["attempts"] > _ATTEMPTS_MAX'),
    ),
    Mutant(
        "set_boot is called twice",
        f"{_SLOTS}:Slots.arm",
        replace_statement("slot.set_boot()", "...", "slot.set_boot()"),
    ),
    Mutant(
        "a slot that is chosen already is chosen again",
        f"{_SLOTS}:Slots.arm",
        remove("if _same(self.chosen(), slot): return"),
    ),
    Mutant("the free slot is written while on trial", f"{_SLOTS}:Slots.free", always(False, "self.on_trial()")),
    Mutant("a fall-back of the boot loader is ignored", f"{_SLOTS}:Slots.free", remove("self._hold_running()")),
    Mutant(
        "after a fall-back the running firmware is put on trial",
        f"{_SLOTS}:Slots._hold_running",
        remove("self._partition.mark_app_valid_cancel_rollback()"),
    ),
    Mutant(
        "the mark is not read back", f"{_SLOTS}:Slots.mark_valid", always(True, "self.state(self.running) == _VALID")
    ),
    Mutant(
        "whatever otadata chooses is marked valid",
        f"{_SLOTS}:Slots.mark_valid",
        always(True, "_same(self.chosen(), self.running)"),
    ),
    Mutant("the chip is not restarted once the slot is armed", "device/main.py:provision", remove("board.reset()")),
    Mutant(
        "the firmware is proven before it has reached the server",
        "device/main.py:provision",
        replace_statement("api = steps.talk(settings, state, doubt)", _PROVE_AT_ONCE, "..."),
    ),
    Mutant("the firmware is proven without measuring", f"{_STEPS}:prove", remove("thermometer.read_celsius(...)")),
    Mutant("nobody feeds the watchdog after the trial", f"{_STEPS}:prove", remove("board.end_trial()")),
    Mutant(
        "the watchdog is fed during a trial", "device/board.py:feed", replace("watchdog and _trial_over", "watchdog")
    ),
    Mutant("no watchdog guards the trial", "boot.py:guard_trial", replace("machine.WDT(...)", "None")),
    # What the server hears
    Mutant(
        "an update is taken for confirmed once it runs",
        f"{_UPDATE}:_settle",
        replace(
            'keep(state, versionId=update["versionId"], confirmed=False, update=None, verdict=done, **runs)',
            'keep(state, versionId=update["versionId"], confirmed=True, update=None, verdict=done, **runs)',
        ),
    ),
    Mutant(
        "the confirmation is noted before it is made",
        "device/main.py:provision",
        swap("api.confirm(target)", "steps.keep(state, confirmed=True)"),
    ),
    Mutant("the verdict is reported for ever", f"{_STEPS}:report", remove("keep(state, verdict=None)")),
    Mutant(
        "the verdict is forgotten though the server has not heard it",
        f"{_STEPS}:report",
        replace_statement('if error.code == "key_dropped": raise', "...", "keep(state, verdict=None)"),
    ),
    Mutant(
        "a roll-back is not noticed",
        f"{_UPDATE}:_settle",
        always(False, 'update["phase"] == "armed" and slots.failed(update["slot"])'),
    ),
    Mutant(
        "an aborted trial is no failure",
        f"{_SLOTS}:Slots.failed",
        replace("(_PENDING_VERIFY, _INVALID, _ABORTED)", "(_PENDING_VERIFY, _INVALID)"),
    ),
    Mutant(
        "a version that failed is forgotten instead of given up",
        f"{_UPDATE}:give_up",
        replace("keep(...)", 'keep(state, update=None, verdict=verdict(update, "given up"))'),
    ),
    Mutant(
        "a version that was given up is tried again while it is the target",
        "device/main.py:provision",
        always(False, 'state.get("quarantined") == target'),
    ),
]

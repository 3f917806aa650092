"""The list of mistakes. A new one is a line: what it is, where, and the construct that changes (see `change`)."""

from tools.proof.mutants.change import Mutant, always, both, remove, replace, replace_statement, swap

_LOOP, _RECORD, _ROUND = "device/agent/loop.py", "device/agent/record.py", "device/agent/round.py"
_READER, _WRITER = "device/agent/record_reader.py", "device/agent/record_writer.py"
_PROVISION, _THINGS = "device/gadgetkeeper/provision.py", "device/gadgetkeeper/things.py"
_FIRMWARE = "device/gadgetkeeper/firmware.py"
_ARMING, _PLAN, _RECEIVER = "device/ota/arming.py", "device/ota/plan.py", "device/ota/receiver.py"
_RECONCILE, _SIGNATURE, _SLOTS = "device/ota/reconcile.py", "device/ota/signature.py", "device/ota/slots.py"
_MAIN, _TRIAL, _WRITE = "device/main.py:provision", "device/ota/trial.py:prove", "device/ota/writer.py:write"

_SAVE_TO_FLASH = 'run("agent.record_writer", "write_record", self, self._root)'
_WRITE_AHEAD = "update.device.record.write_ahead(pending, quarantined=None)"
_ARM = 'run("ota.slots", "arm", update.device.board.Partition, update.slot)'
_CHECK_HEADER = 'run("ota.header", "check_header", update, head, least_bytes)'
_CHECK_HEADER_OR_REFUSE = "try: ...\nexcept AgentError as error: ..."
_RECONCILED = 'running = run("ota.reconcile", "reconcile", device)'
_PROVE_AT_ONCE = 'if running.on_trial:\n    run("ota.trial", "prove", device, running)\n    running.on_trial = False'
_ERASE = "while erase_at <= at + ahead_bytes and (end is None or erase_at < end): ..."
_ERASE_AHEAD = """while erase_at <= at + ahead_bytes and (end is None or erase_at < end):
    slot.erase(erase_at)
    erase_at += _SECTOR_BYTES
"""
_ERASE_NO_MORE = _ERASE_AHEAD.replace(" + ahead_bytes", "")
_SAME_SLOT, _SAME_IMAGE = "record.slot == running.slot", "record.image == running.image"
_NEEDS_SERVERS_VERSION = "installed_id is None and record.image is None"

MUTANTS = [
    # The record
    Mutant(
        "the record is written in place",
        f"{_WRITER}:write_record",
        both(replace('root + "state.new"', 'root + "state.json"'), remove("os.rename(...)")),
    ),
    Mutant(
        "the record is written though nothing changed",
        f"{_RECORD}:Record.save",
        replace_statement("if self.dirty: ...", _SAVE_TO_FLASH),
    ),
    Mutant(
        "a record that could not be written is not written later",
        f"{_RECORD}:Record.save",
        swap(_SAVE_TO_FLASH, "self.dirty = False"),
    ),
    Mutant(
        "what flash could not take is forgotten at the next round",
        f"{_ROUND}:prepare",
        always(True, "not device.record.dirty"),
    ),
    Mutant(
        "an interrupted download in the record is not checked",
        f"{_READER}:_pending",
        remove("if pending.image is None or pending.size_bytes is None or not is_etag(pending.etag): ..."),
    ),
    # Identity
    Mutant(
        "the key of a thing that is known is not stored",
        f"{_PROVISION}:activate",
        replace_statement("record.save(...)", "if not same: record.save(thing_id=thing_id, api_key=api_key)"),
    ),
    Mutant(
        "another thing than before is taken for renamed",
        f"{_PROVISION}:activate",
        replace("same and record.renamed", "record.renamed"),
    ),
    Mutant("the rename is not remembered", f"{_THINGS}:rename", remove("device.record.save(renamed=True)")),
    Mutant(
        "a dropped key is not met with another activation",
        f"{_ROUND}:fail",
        replace('("key_dropped", "no_thing")', '("no_thing",)'),
    ),
    Mutant("the errors' classes are unloaded with the phases", _LOOP, remove("from . import errors")),
    # What runs
    Mutant(
        "the new version's Id is stored before its trial",
        f"{_ARMING}:_arm",
        replace_statement(
            _WRITE_AHEAD,
            "update.device.record.write_ahead(pending, quarantined=None, version_id=pending.version_id)",
        ),
    ),
    Mutant(
        "the new version's Id is stored before the boot loader keeps it",
        _TRIAL,
        replace_statement("slots.mark_valid()", "settle_update(record, slots, running)", "..."),
    ),
    Mutant("a trial is taken for a proven firmware", f"{_SLOTS}:Slots.what_runs", replace("self.on_trial()", "False")),
    Mutant(
        "the armed image is not bound to a slot",
        f"{_RECONCILE}:is_armed",
        always(True, "pending.slot == running.slot"),
    ),
    Mutant("the record's claim is not bound to a slot", f"{_RECONCILE}:is_installed", always(True, _SAME_SLOT)),
    Mutant("the record's claim is not bound to an image", f"{_RECONCILE}:is_installed", always(True, _SAME_IMAGE)),
    Mutant(
        "a firmware on trial without a record borrows the server's old version",
        _MAIN,
        replace(f"{_NEEDS_SERVERS_VERSION} and not running.on_trial", _NEEDS_SERVERS_VERSION),
    ),
    # The download
    Mutant(
        "the record is not written ahead of the first erase",
        f"{_RECEIVER}:_write_ahead",
        replace_statement(
            _WRITE_AHEAD, "update.device.record.pending = pending", "update.device.record.quarantined = None"
        ),
    ),
    Mutant(
        "the record is written before the header is checked",
        f"{_RECEIVER}:receive",
        swap(_CHECK_HEADER_OR_REFUSE, "end = _write_ahead(update, head, etag, size_bytes)"),
    ),
    Mutant("the header is not checked before the first erase", f"{_RECEIVER}:receive", remove(_CHECK_HEADER)),
    Mutant(
        "what lies in the slot is believed to be the download's beginning",
        f"{_PLAN}:plan",
        always(True, "begun.image == slot.fingerprint()"),
    ),
    Mutant("no sector is erased ahead", _WRITE, replace("0 if end is None else _SECTOR_BYTES", "0")),
    Mutant(
        "a sector is programmed before its successor is erased",
        _WRITE,
        both(
            replace_statement(_ERASE, _ERASE_NO_MORE),
            replace_statement("slot.program(...)", "...", _ERASE_AHEAD),
        ),
    ),
    Mutant(
        "a download goes on behind the last sector begun",
        f"{_PLAN}:_resume_at",
        replace_statement("return at - SECTOR_BYTES", "return at"),
    ),
    Mutant(
        "a download starts over though it could go on",
        f"{_PLAN}:plan",
        replace("_resume_at(slot, begun.size_bytes)", "0"),
    ),
    Mutant(
        "a download goes on with a file that has changed",
        f"{_FIRMWARE}:firmware",
        remove('ranged["If-Range"] = download.etag'),
    ),
    Mutant(
        "any part of the file is taken for the one asked for",
        f"{_FIRMWARE}:firmware",
        always(True, 'response.headers.get("content-range") == rest'),
    ),
    Mutant(
        "the attempts are counted anew when a download goes on",
        f"{_PLAN}:plan",
        replace("begun.attempts", "0 if begun.phase == DOWNLOAD else begun.attempts"),
    ),
    # The checks
    Mutant("the slot is armed unchecked", f"{_ARMING}:check_and_arm", remove("_check(update, size_bytes)")),
    Mutant(
        "an image left in the slot is armed again unchecked",
        f"{_ARMING}:check_and_arm",
        replace_statement("_check(update, size_bytes)", "if size_bytes is not None: _check(update, size_bytes)"),
    ),
    Mutant(
        "an image left in the slot may be another one",
        f"{_ARMING}:_check",
        always(False, "expected and expected != update.slot.fingerprint()"),
    ),
    Mutant(
        "the hash is not compared when a signature is there",
        f"{_SIGNATURE}:check_signature",
        replace_statement(
            "if bytes(block[_DIGEST_AT:_MODULUS_AT]) != digest: ...", "digest = bytes(block[_DIGEST_AT:_MODULUS_AT])"
        ),
    ),
    Mutant("anybody's signature will do", f"{_SIGNATURE}:check_signature", replace("key not in trusted", "not key")),
    Mutant(
        "a damaged download is given up at once",
        f"{_RECONCILE}:record_refusal",
        always(True, "isinstance(error, PermanentError)"),
    ),
    # The trial
    Mutant("the attempt is counted after the slot is armed", f"{_ARMING}:_arm", swap(_WRITE_AHEAD, _ARM)),
    Mutant(
        "attempts are not counted",
        f"{_ARMING}:_arm",
        replace_statement("pending.attempts += 1", "pending.attempts = 1"),
    ),
    Mutant(
        "a version gets one attempt too many",
        f"{_RECONCILE}:settle_update",
        replace("pending.attempts >= _ATTEMPTS_MAX", "pending.attempts > _ATTEMPTS_MAX"),
    ),
    Mutant(
        "set_boot is called twice",
        f"{_SLOTS}:arm",
        replace_statement("slot.partition.set_boot()", "...", "slot.partition.set_boot()"),
    ),
    Mutant(
        "a slot that is chosen already is chosen again",
        f"{_SLOTS}:arm",
        remove("if Slot(partition(partition.BOOT)).address == slot.address: return"),
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
        always(True, "self.chosen().address == self.running.address"),
    ),
    Mutant(
        "otadata's older record of a slot counts",
        f"{_SLOTS}:Slots.state",
        replace("sequence > newest", "newest == 0 or sequence < newest"),
    ),
    Mutant(
        "the chip is not restarted once the slot is armed",
        f"{_ARMING}:check_and_arm",
        remove("update.device.board.reset()"),
    ),
    Mutant(
        "the firmware is proven before it has reached the server",
        _MAIN,
        replace_statement(_RECONCILED, "...", _PROVE_AT_ONCE),
    ),
    Mutant("the firmware is proven without measuring", _MAIN, remove('run("thermometer", "read_celsius", device)')),
    Mutant("nobody feeds the watchdog after the trial", _TRIAL, remove("device.board.end_trial()")),
    Mutant(
        "the watchdog is fed during a trial",
        "device/board/__init__.py:Board.feed",
        replace("self._watchdog and self._trial_over", "self._watchdog"),
    ),
    Mutant("no watchdog guards the trial", "boot.py:guard_trial", replace("machine.WDT(...)", "None")),
    # What the server hears
    Mutant(
        "an update is taken for confirmed once it runs",
        f"{_RECONCILE}:claim_installed",
        replace_statement(
            "record.save(...)",
            "record.save(version_id=version_id, slot=running.slot, image=running.image, confirmed=True,"
            " outcome=result, pending=pending)",
        ),
    ),
    Mutant(
        "the confirmation is saved before it is made",
        f"{_PROVISION}:confirm",
        swap('call(device, "confirm version", version=version.id).close()', "device.record.save(confirmed=True)"),
    ),
    Mutant("the outcome is reported for ever", f"{_THINGS}:report_outcome", remove("device.record.save(outcome=None)")),
    Mutant(
        "the outcome is forgotten though the server has not heard it",
        f"{_THINGS}:report_outcome",
        replace_statement('if error.code == "key_dropped": raise', "...", "device.record.save(outcome=None)"),
    ),
    Mutant(
        "a rollback is not noticed",
        f"{_RECONCILE}:settle_update",
        always(False, "pending.phase == ARMED and slots.failed(pending.slot)"),
    ),
    Mutant(
        "an aborted trial is no failure",
        f"{_SLOTS}:Slots.failed",
        replace("(_PENDING_VERIFY, _INVALID, _ABORTED)", "(_PENDING_VERIFY, _INVALID)"),
    ),
    Mutant(
        "a version that failed is forgotten instead of given up",
        f"{_RECONCILE}:give_up",
        replace_statement("record.save(...)", 'record.save(pending=None, outcome=outcome(pending, "given up"))'),
    ),
    Mutant(
        "a version that was given up is tried again while it is the target",
        _MAIN,
        always(False, "record.quarantined == target.id"),
    ),
]

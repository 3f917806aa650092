"""The list of mistakes. A new one is a line: what it is, where, and the construct that changes (see `change`)."""

from tools.proof.mutants.change import Mutant, always, both, remove, replace, replace_statement, swap

_LOOP, _RECORD, _ROUND = "device/agent/loop.py", "device/agent/record.py", "device/agent/round.py"
_READER, _FILES = "device/agent/record_reader.py", "device/agent/files.py"
_PROVISION, _THINGS = "device/gadgetkeeper/provision.py", "device/gadgetkeeper/things.py"
_FIRMWARE = "device/gadgetkeeper/firmware.py"
_ARMING, _PLAN, _RECEIVER = "device/ota/arming.py", "device/ota/plan.py", "device/ota/receiver.py"
_WRITE_AHEAD_FILE, _BUNDLE = "device/ota/write_ahead.py", "device/ota/bundle.py"
_RECONCILE, _SIGNATURE, _SLOTS = "device/ota/reconcile.py", "device/ota/signature.py", "device/ota/slots.py"
_HEADER, _SETTINGS, _TRACES = "device/ota/header.py", "device/agent/settings_reader.py", "device/ota/traces.py"
_MAIN, _TRIAL, _WRITE = "device/main.py:provision", "device/ota/trial.py:prove", "device/ota/writer.py:write"
_CHECK_AND_ARM = f"{_ARMING}:check_and_arm"

_SAVE_TO_FLASH = 'run("agent.record_writer", "write_record", self, self._root)'
_WRITE_AHEAD = "update.device.record.write_ahead(pending)"
_OR_REFUSE = "try: ...\nexcept AgentError as error: ..."
_CHECK_IMAGE = 'run("ota.image", "check_image", update.slot, size_bytes, update.device.settings.signing_keys)'
_CHECK_HEADER_ON_FLASH = 'run("ota.header", "check_header", update, head, size_bytes or 0)'
_CHECK_HEADER = 'run("ota.header", "check_header", update, head, least_bytes)'
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
        f"{_FILES}:replace_text",
        both(replace('path + ".new"', "path"), remove("os.rename(...)")),
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
        always(True, "resumable and isinstance(head, str) and len(head) == _HEAD_DIGITS and not head.strip(_DIGITS)"),
    ),
    Mutant(
        "the owner's wish to be forgotten is put away before it is fulfilled",
        "device/agent/owner.py:take_wish",
        swap("if wish == FORGET: ...", 'os.remove(device.root + "setup.txt")'),
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
        f"{_ARMING}:_write_ahead",
        replace_statement(
            _WRITE_AHEAD,
            "update.device.record.write_ahead(pending, version_id=pending.version_id)",
        ),
    ),
    Mutant(
        "the new version's Id is stored before the boot loader keeps it",
        _TRIAL,
        replace_statement("slots.mark_valid()", "settle_update(device, slots, running)", "..."),
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
        f"{_WRITE_AHEAD_FILE}:write_ahead",
        replace_statement("record.write_ahead(pending)", "record.pending = pending"),
    ),
    Mutant(
        "the record is written before the header is checked",
        f"{_RECEIVER}:receive",
        replace_statement(_OR_REFUSE, "update.device.record.write_ahead(update.pending)", "..."),
    ),
    Mutant("the header is not checked before the first erase", f"{_RECEIVER}:receive", remove(_CHECK_HEADER)),
    Mutant(
        "what lies in the slot is believed to be the download's beginning",
        f"{_PLAN}:_resume_at",
        always(False, "probe != blank[:HELD_BACK_BYTES] + head[HELD_BACK_BYTES:]"),
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
        replace("_resume_at(slot, head, begun.size_bytes)", "0"),
    ),
    Mutant(
        "a download goes on with a file that has changed",
        f"{_FIRMWARE}:firmware",
        remove('ranged["If-Range"] = download.etag'),
    ),
    Mutant(
        "any part of the file is taken for the one asked for",
        f"{_FIRMWARE}:_is_of_use",
        always(True, 'part.startswith(f"bytes {download.start}-") and part.endswith(end)'),
    ),
    Mutant(
        "the attempts are counted anew when a download goes on",
        f"{_PLAN}:plan",
        replace("begun.attempts", "0 if begun.phase == DOWNLOAD else begun.attempts"),
    ),
    # The checks
    Mutant("the slot is armed unchecked", _CHECK_AND_ARM, remove("_check(update, size_bytes)")),
    Mutant(
        "an image left in the slot is armed again unchecked",
        _CHECK_AND_ARM,
        replace_statement("_check(update, size_bytes)", "if size_bytes is not None: _check(update, size_bytes)"),
    ),
    Mutant(
        "an image left in the slot may be another one",
        f"{_ARMING}:_check",
        always(False, 'begun.image and begun.image != run("ota.layout", "fingerprint", update.slot)'),
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
    Mutant("the attempt is counted after the slot is armed", _CHECK_AND_ARM, swap("_write_ahead(update)", _OR_REFUSE)),
    Mutant(
        "attempts are not counted",
        f"{_ARMING}:_write_ahead",
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
        f"{_SLOTS}:Slots.newest",
        replace("sequence > found.sequence", "sequence < found.sequence"),
    ),
    Mutant(
        "the chip is not restarted once the slot is armed",
        _CHECK_AND_ARM,
        remove("update.device.board.reset()"),
    ),
    Mutant(
        "the firmware is proven before it has reached the server",
        _MAIN,
        replace_statement(_RECONCILED, "...", _PROVE_AT_ONCE),
    ),
    Mutant("the firmware is proven without measuring", _MAIN, remove('run(device.settings.app, "prove", device)')),
    Mutant("nobody feeds the watchdog after the trial", _TRIAL, remove("device.board.end_trial()")),
    Mutant(
        "the watchdog is fed during a trial",
        "device/board/__init__.py:Board.feed",
        replace("self._watchdog and not self._on_trial", "self._watchdog"),
    ),
    Mutant("no watchdog guards the trial", "boot.py", replace("machine.WDT(...)", "None")),
    # What the server hears
    Mutant(
        "an update is taken for confirmed once it runs",
        f"{_RECONCILE}:settle_update",
        replace_statement("record.save(...)", "...", "record.save(confirmed=True)"),
    ),
    Mutant(
        "the confirmation is saved before it is made",
        f"{_PROVISION}:confirm",
        swap('tell(device, "confirm version", version=version_id)', "device.record.save(confirmed=True)"),
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
        "device/ota/hold.py:why_held",
        always(False, "record.quarantined == target.id"),
    ),
    # What is not checked can never boot
    Mutant("an image's first bytes are written at once", _WRITE, remove("if at == 0: ...")),
    Mutant(
        "an image's first bytes are written before the checks",
        _CHECK_AND_ARM,
        swap(_OR_REFUSE, "_program_head(update.slot)"),
    ),
    Mutant(
        "the manifest is not compared with the image",
        f"{_BUNDLE}:check_bundle",
        replace(
            'run("agent.manifest_reader", "check_manifest", text, release, product)',
            'run("agent.manifest_reader", "parse_manifest", text)',
        ),
    ),
    Mutant(
        "the product's module is not looked for",
        f"{_BUNDLE}:check_bundle",
        remove('run("ota.bundle_files", "check_app", slot, manifest.app)'),
    ),
    Mutant(
        "the bundle is not checked",
        f"{_ARMING}:_check",
        remove(
            'littlefs = run("ota.bundle", "check_bundle", update.slot, update.release, update.device.settings.product)'
        ),
    ),
    Mutant(
        "an image that is not whole is judged by its header",
        f"{_ARMING}:_check",
        both(remove(_CHECK_IMAGE), replace_statement(_CHECK_HEADER_ON_FLASH, "...", _CHECK_IMAGE)),
    ),
    Mutant(
        "another product's release will do",
        f"{_HEADER}:_check_release",
        always(False, "new.product != device.settings.product"),
    ),
    Mutant("a release below the floor will do", f"{_HEADER}:_check_release", always(False, "new.release < floor")),
    Mutant(
        "the floor of a release is forgotten with it",
        f"{_RECONCILE}:settle_update",
        replace("max(record.floor, device.settings.floor)", "record.floor"),
    ),
    # Traces of boot.py
    Mutant("a trial leaves no trace", "boot.py:Start.trace_trial", remove("if self.trial: ...")),
    Mutant(
        "a release that never came as far as boot.py is tried again",
        f"{_TRACES}:_heed_trial",
        remove("give_up(device.record, pending)"),
    ),
    Mutant(
        "the trace of an earlier trial vouches for the next one",
        _CHECK_AND_ARM,
        remove('run("agent.files", "remove", update.device.root + "trial.txt")'),
    ),
    Mutant(
        "the trace of an earlier trial is removed before otadata is told of the next one",
        _CHECK_AND_ARM,
        replace_statement(
            "_write_ahead(update)", "...", 'run("agent.files", "remove", update.device.root + "trial.txt")'
        ),
    ),
    Mutant(
        "a release that keeps crashing is never left",
        "boot.py:Start.count",
        always(False, "starts > _UNHEALTHY_STARTS_MAX"),
    ),
    Mutant(
        "the release before is put on trial again",
        "boot.py:Start._go_back",
        remove("Partition.mark_app_valid_cancel_rollback()"),
    ),
    Mutant(
        "going back is not taken up again after a power cut",
        "boot.py:Start._go_back",
        replace("self.proven == 2 or _has_left(label)", "self.proven == 2"),
    ),
    Mutant(
        "a release that was left is installed again",
        f"{_TRACES}:_heed_left",
        replace_statement("record.save(...)", "...", "record.save(quarantined=None)"),
    ),
    Mutant(
        "the version before is forgotten when another is installed",
        f"{_RECONCILE}:settle_update",
        replace_statement("record.save(...)", "...", "record.save(previous_id=None, previous_image=None)"),
    ),
    Mutant("boot.py's trace of a release that was left stays", f"{_TRACES}:_heed_left", remove("if left: ...")),
    # Trust
    Mutant(
        "a release that brings another key is held to it itself",
        _TRIAL,
        replace(
            "[] if is_armed(record.pending, running) else device.settings.signing_keys", "device.settings.signing_keys"
        ),
    ),
    Mutant(
        "the running slot is not verified in the trial",
        _TRIAL,
        remove('run("ota.image", "check_image", slots.running, None, trusted)'),
    ),
    Mutant(
        "that only signed releases are taken is forgotten",
        f"{_RECONCILE}:settle_update",
        replace("bool(device.settings.signing_keys)", "False"),
    ),
    Mutant(
        "a config.json that cannot be read counts as missing",
        f"{_SETTINGS}:_given",
        remove("if error.errno != _ENOENT: ..."),
    ),
    Mutant(
        "a record's server gives way to the default one",
        f"{_SETTINGS}:load_settings",
        remove('if record.api_key and "server" not in given and values["server"] != record.server: ...'),
    ),
    Mutant(
        "a lost key makes unsigned releases welcome",
        f"{_SETTINGS}:load_settings",
        remove('if record.signed and not values["signing_keys"]: ...'),
    ),
    Mutant(
        "what a release may set is not limited",
        "device/agent/manifest_reader.py:parse_manifest",
        remove("if name not in RELEASE_SETTINGS: ..."),
    ),
]

"""What runs, and what the record says about it: compared at every start, and the chip wins.

An update is a transaction over two slots, otadata and the record (see `install`). Its order is what survives a power
cut at any point: the record is written ahead of the first erase; a slot is armed only after the image in it has been
read back and checked; the new version's Id is stored only once the new firmware runs and has proven itself.
"""

from agent.errors import AgentError, PermanentError, RetryableError
from agent.record import ARMED, DOWNLOAD, ROLLED_BACK, Pending, Running
from agent.runner import Next, run
from micropython import const

from .slots import Slots

_MALFORMED = const(("bad_base64", "bad_firmware_body", "firmware_cut"))
_ATTEMPTS_MAX = const(3)  # downloads or boots a version gets to prove itself


def reconcile(device) -> Running:
    """Bring the record in line with what runs, and return that; a trial has still to show what is to be recorded.

    PermanentError on a board without two slots, RetryableError when flash fails."""
    record = device.record
    record.save()  # what flash could not take before
    slots = Slots(device.board.Partition)
    running = slots.what_runs()
    if record.pending:
        try:
            slots.named(record.pending.slot)
        except OSError:  # the record is of another board, or of another partition table
            record.save(pending=None)
    if not running.on_trial:
        run("ota.traces", "heed", device, slots, running)
        settle_update(device, slots, running)
        device.board.end_trial()
    return running


def installed_id(device, running: Running) -> "str | None":
    """Return the Id of the version that runs, as the record knows it; None when it is not known."""
    record = device.record
    if is_installed(record, running):
        return record.version_id
    return record.pending.version_id if is_armed(record.pending, running) else None


def is_installed(record, running: Running) -> bool:
    """Return True when the running firmware is the one that the record calls installed."""
    return record.slot == running.slot and record.image == running.image


def is_armed(pending: "Pending | None", running: Running) -> bool:
    """Return True when the running firmware is the one that this update has armed."""
    if pending is None or pending.phase != ARMED:
        return False
    return pending.slot == running.slot and pending.image == running.image


def outcome(pending: Pending, phase: str) -> dict:
    """Return how a try to update went, as the status property that the server is told."""
    code = None if phase == "installed" else pending.error_code or "interrupted"
    return {"phase": phase, "versionId": pending.version_id, "attempt": pending.attempts, "code": code}


def settle_update(device, slots: Slots, running: Running) -> None:
    """Bring the record in line with a release that runs for good."""
    record = device.record
    pending = record.pending
    if is_armed(pending, running):
        # The new firmware has proven itself, before this start or just now.
        record.save(
            version_id=pending.version_id,
            slot=running.slot,
            image=running.image,
            confirmed=False,
            outcome=outcome(pending, "installed"),
            pending=None,
            previous_id=record.version_id,
            previous_image=record.image,
            floor=max(record.floor, device.settings.floor),
            signed=bool(device.settings.signing_keys),
        )
        return
    if record.image is not None and not is_installed(record, running):
        claim_unknown(record, running)
    if not pending:
        return
    if pending.phase == ARMED and slots.failed(pending.slot):
        pending.phase, pending.error_code = ROLLED_BACK, "rolled_back"
        record.write_ahead(pending, outcome=outcome(pending, "trial"))
    if pending.attempts >= _ATTEMPTS_MAX:
        give_up(record, pending)


def claim_unknown(record, running: Running) -> None:
    """Save that another release runs than the record's, say one flashed by cable: its version is not known."""
    record.save(version_id=None, slot=running.slot, image=running.image, confirmed=False)


def record_refusal(record, pending, error: AgentError) -> None:
    """Record that the firmware has failed a check with this error; a permanent one is given up."""
    if pending.phase != ARMED:  # arming has counted it
        pending.attempts += 1
    pending.error_code = error.code
    if isinstance(error, PermanentError):
        give_up(record, pending)
        return
    # Perhaps the way here has damaged a sound image: the next try starts with nothing of it.
    take_whole(record, pending, error, outcome=outcome(pending, "download"))


def handle_failure(update, source: str, error: AgentError, is_bounded: bool) -> Next:
    """Return the phase that takes the whole firmware, when this error is about a patch; otherwise raise it. An answer
    that is complete (`is_bounded`: its end was marked) but malformed counts as a try, because each costs an erased
    slot."""
    if is_bounded and error.code == "patch_cut":  # the answer is complete, the patch in it is not
        error = RetryableError("patch_damaged", "end")
    if is_bounded and error.code in _MALFORMED and update.device.record.pending is update.pending:
        record_refusal(update.device.record, update.pending, error)
    if not error.code.startswith("patch_") or error.code == "patch_cut":
        raise error
    update.say(run("agent.sentences", "sentence", error) + "; taking the whole firmware instead")
    take_whole(update.device.record, update.pending, error)
    return Next("ota.install", "install", update.device, update.target, source)


def take_whole(record, pending, error: AgentError, **changes) -> None:
    """Record that the firmware is to be downloaded from its first byte on, and not as a patch, because of this error;
    with these other changes."""
    pending.phase, pending.whole, pending.error_code = DOWNLOAD, True, error.code
    pending.image = pending.head = pending.etag = pending.size_bytes = None
    record.write_ahead(pending, **changes)


def give_up(record, pending) -> None:
    """Leave this version alone until the target changes."""
    record.save(quarantined=pending.version_id, pending=None, outcome=outcome(pending, "given up"))

"""What runs, and what the record says about it: compared at every start, and the chip wins.

An update is a transaction over two slots, otadata and the record (see `update`). Its order is what survives a power cut
at any point: the record is written ahead of the first erase; a slot is armed only after the image in it has been read
back and checked; the new version's Id is stored only once the new firmware runs and has proven itself.
"""

from agent.errors import AgentError, PermanentError
from agent.identifiers import is_etag
from agent.record import ARMED, DOWNLOAD, ROLLED_BACK, Running
from micropython import const

from .slot import fingerprint
from .slots import Slots

_ATTEMPTS_MAX = const(3)  # downloads or boots a version gets to prove itself


def reconcile(device) -> Running:
    """Bring the record in line with what runs, and return that. A trial leaves the record as it is."""
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
        settle_update(record, slots, running)
        device.board.end_trial()
    return running


def installed_id(device, running: Running) -> "str | None":
    """Return the Id of the version that runs, as the record knows it; None when it is not known."""
    record = device.record
    if record.claims(running):
        return record.version_id
    return record.pending.version_id if record.pending and record.pending.is_in(running) else None


def settle_update(record, slots: Slots, running: Running) -> None:
    """Bring the record in line with a firmware that runs for good."""
    pending = record.pending
    if pending and pending.is_in(running):
        # The new firmware has proven itself, before this start or just now.
        claim_installed(record, running, pending.version_id, pending.outcome("installed"))
        return
    if record.image is not None and not record.claims(running):
        # Another firmware than the record's, say flashed by cable: its version is not known.
        claim_installed(record, running, None, record.outcome, pending)
    if not pending:
        return
    if pending.phase == ARMED and slots.failed(pending.slot):
        pending.phase, pending.error_code = ROLLED_BACK, "rolled_back"
        record.write_ahead(pending, outcome=pending.outcome("trial"))
    if pending.attempts >= _ATTEMPTS_MAX:
        give_up(record, pending)


def claim_installed(record, running: Running, version_id, outcome=None, pending=None) -> None:
    """Save that this version runs, not confirmed yet; None when its Id is not known."""
    record.save(
        version_id=version_id,
        slot=running.slot,
        image=running.image,
        confirmed=False,
        outcome=outcome,
        pending=pending,
    )


def write_ahead(update, head, etag: "str | None", size_bytes: "int | None") -> "int | None":
    """Write the record before the first erase, which takes the slot's old image away.

    Return where the firmware certainly ends, None when that is not known. `head` is its first bytes; with an `etag` that
    fits, its download of `size_bytes` can be resumed."""
    pending = update.pending
    if is_etag(etag):
        pending.image, pending.etag, pending.size_bytes = fingerprint(head), etag, size_bytes
    update.device.record.write_ahead(pending, quarantined=None)
    return pending.size_bytes


def record_refusal(record, pending, error: AgentError) -> None:
    """Record that the firmware has failed a check with this error; a permanent one is given up."""
    if pending.phase != ARMED:  # arming has counted it
        pending.attempts += 1
    pending.error_code = error.code
    if isinstance(error, PermanentError):
        give_up(record, pending)
        return
    # Perhaps the way here has damaged a sound image: the next try starts with nothing of it.
    pending.phase, pending.image, pending.etag, pending.size_bytes = DOWNLOAD, None, None, None
    record.write_ahead(pending, outcome=pending.outcome("download"))


def give_up(record, pending) -> None:
    """Leave this version alone until the target changes."""
    record.save(quarantined=pending.version_id, pending=None, outcome=pending.outcome("given up"))

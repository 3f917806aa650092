"""What boot.py has left on flash for the agent."""

from agent.files import read_text, remove, replace_text
from agent.record import ARMED, Running

from .reconcile import give_up
from .slots import Slots


def heed(device, slots: Slots, running: Running) -> None:
    """Bring the record in line with the traces: of trials that boot.py has seen, and of a release that it has left."""
    _heed_trial(device, slots)
    _heed_left(device, running)


def _heed_trial(device, slots: Slots) -> None:
    """Give an update up whose trial never came as far as boot.py: a foreign app would be dark again."""
    pending = device.record.pending
    if not pending or pending.phase != ARMED or not slots.failed(pending.slot):
        return
    tried = slots.newest(slots.named(pending.slot))
    if tried and _trace(device, "trial.txt") != str(tried.sequence):
        pending.error_code = "never_started"
        give_up(device.record, pending)
        # Dealt with: a power cut before otadata is told of the next release must not look like that one's trial.
        replace_text(device.root + "trial.txt", str(tried.sequence))


def _heed_left(device, running: Running) -> None:
    """Leave a version alone that kept crashing after its trial, so that boot.py has gone back to the one before."""
    record = device.record
    left = _trace(device, "left.txt")
    if left and left == record.slot and left != running.slot:
        failed = record.version_id
        is_previous = record.previous_image == running.image
        record.save(
            version_id=record.previous_id if is_previous else None,
            slot=running.slot,
            image=running.image,
            confirmed=False,
            quarantined=failed,
            pending=None,
            outcome={"phase": "left", "versionId": failed, "attempt": 0, "code": "keeps_crashing"},
            previous_id=None,
            previous_image=None,
        )
    if left:
        remove(device.root + "left.txt")


def _trace(device, name: str) -> str:
    try:
        return read_text(device.root + name)
    except (OSError, ValueError):
        return ""

"""The last steps before the reset: check the image as it lies on flash, and have the boot loader try it."""

from agent.errors import AgentError, RetryableError
from agent.record import ARMED
from agent.runner import run

from .scratch import scratch
from .slots import Slots
from .update import Update


def check_and_arm(update: Update, size_bytes: "int | None") -> None:
    """Check the image in the slot, and arm it. `size_bytes` is how many were written, None when only the image itself
    can tell. AgentError when it may not run here, or the chip's own check refuses it."""
    try:
        _check(update, size_bytes)
        _arm(update)
    except AgentError as error:
        update.refuse(error)


def _check(update: Update, size_bytes: "int | None") -> None:
    # What should still be there from another time need not be: the board may have been flashed by cable since.
    expected = update.device.record.pending.image
    if expected and expected != update.slot.fingerprint():
        raise RetryableError("wrong_hash")
    view = scratch()
    update.slot.read(0, view)
    run("ota.header", "check_header", update, view, size_bytes or 0)
    run("ota.image", "check_image", update.slot, size_bytes, update.device.settings.signing_keys, view)


def _arm(update: Update) -> None:
    pending = update.pending
    # The attempt is counted before it is made: a boot that never comes back must count, too.
    pending.attempts += 1
    pending.phase = ARMED
    pending.image, pending.etag, pending.size_bytes = update.slot.fingerprint(), None, None
    update.device.record.write_ahead(pending, quarantined=None)
    Slots(update.device.board.Partition).arm(update.slot)

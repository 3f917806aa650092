"""The last steps before the reset: check the image as it lies on flash, and have the boot loader try it.

The boot loader takes any slot with a sound hash when the chosen one is damaged. So an image's first bytes are held back
while it is written, and programmed only when it has passed every check. `update` is an `update.Update`, see `plan`.
"""

from agent.errors import AgentError, RetryableError
from agent.record import ARMED
from agent.runner import run
from micropython import const

_HEAD_BYTES = const(288)  # what the header check needs


def check_and_arm(update, size_bytes: "int | None") -> None:
    """Check the image in the slot, arm it, and reset the board into its trial.

    `size_bytes` is how many were written, None when only the image itself can tell. AgentError when it may not run
    here, or the chip's own check refuses it."""
    try:
        _check(update, size_bytes)
    except AgentError as error:
        update.refuse(error)
    _program_head(update.slot)
    _write_ahead(update)
    try:
        run("ota.slots", "arm", update.device.board.Partition, update.slot)
    except AgentError as error:
        update.refuse(error)
    # The trace of an earlier trial, whose number this one may have; not before otadata is told of this one.
    run("agent.files", "remove", update.device.root + "trial.txt")
    update.say("checked, starting it")
    update.device.board.reset()


def _check(update, size_bytes: "int | None") -> None:
    # What should still be there from another time need not be: the board may have been flashed by cable since.
    begun = update.device.record.pending
    if begun.image and begun.image != run("ota.layout", "fingerprint", update.slot):
        raise RetryableError("wrong_hash")
    # First whether it is whole: what is damaged on its way here is worth another try, whatever its header says then.
    run("ota.image", "check_image", update.slot, size_bytes, update.device.settings.signing_keys)
    head = bytearray(_HEAD_BYTES)
    update.slot.read(0, head)
    run("ota.header", "check_header", update, head, size_bytes or 0)
    littlefs = run("ota.bundle", "check_bundle", update.slot, update.release, update.device.settings.product)
    run("ota.volume", "check_volume", update.device.board.Partition, littlefs)


def _program_head(slot) -> None:
    """Make the image one that the boot loader takes. RetryableError when the flash fails."""
    if slot.held_back:
        try:
            slot.program(0, slot.held_back)
        except OSError as error:
            raise RetryableError("flash_failed", slot.label, error)
        slot.held_back = None


def _write_ahead(update) -> None:
    pending = update.pending
    # The attempt is counted before it is made: a boot that never comes back must count, too.
    pending.attempts += 1
    pending.phase = ARMED
    pending.image = run("ota.layout", "fingerprint", update.slot)
    pending.head = pending.etag = pending.size_bytes = None
    update.device.record.write_ahead(pending)

"""The last steps before the reset: check the image as it lies on flash, and have the boot loader try it.

`update` is an `update.Update`, see `plan`.
"""

from agent.errors import AgentError, RetryableError
from agent.record import ARMED
from agent.runner import run
from micropython import const

_HEADER_BYTES = const(288)  # what the header check needs


def check_and_arm(update, size_bytes: "int | None") -> None:
    """Check the image in the slot, arm it, and reset the board into its trial. `size_bytes` is how many were written, None when only the image itself
    can tell. AgentError when it may not run here, or the chip's own check refuses it."""
    try:
        _check(update, size_bytes)
        _arm(update)
    except AgentError as error:
        update.refuse(error)
    update.say("checked, starting it")
    update.device.board.reset()


def _check(update, size_bytes: "int | None") -> None:
    # What should still be there from another time need not be: the board may have been flashed by cable since.
    expected = update.device.record.pending.image
    if expected and expected != update.slot.fingerprint():
        raise RetryableError("wrong_hash")
    head = bytearray(_HEADER_BYTES)
    update.slot.read(0, head)
    run("ota.header", "check_header", update, head, size_bytes or 0)
    run("ota.image", "check_image", update.slot, size_bytes, update.device.settings.signing_keys)


def _arm(update) -> None:
    pending = update.pending
    # The attempt is counted before it is made: a boot that never comes back must count, too.
    pending.attempts += 1
    pending.phase = ARMED
    pending.image, pending.etag, pending.size_bytes = update.slot.fingerprint(), None, None
    update.device.record.write_ahead(pending, quarantined=None)
    run("ota.slots", "arm", update.device.board.Partition, update.slot)

"""Writing a firmware into a slot, sector by sector.

How far a try got is not written down, the slot itself tells: where the size is certain, each sector is erased before
its predecessor is programmed, so that the first blank one stands where writing stopped. That costs no write, and need
not be believed: the image is checked as a whole in the end.
"""

from agent.errors import RetryableError
from agent.runner import Next
from micropython import const

_SECTOR_BYTES = const(4096)
_HELD_BACK_BYTES = const(32)
_BUFFER_BYTES = const(2048)  # half a sector: many heaps have no 4 KiB in one piece, and it is hardly slower


def write(update, body, head, at: int, end: "int | None", size_bytes: "int | None") -> Next:
    """Write `head`, and what follows it in `body`, from byte `at` of the update's slot on. Return the phase that reads
    the body's rest, and gives the firmware's size in bytes; above the slot's size for one that does not fit.

    A sector is erased before it is written; with `end`, where the firmware certainly ends, the next one is erased as
    well. `size_bytes` is for the progress bar. RetryableError when the body breaks off or the flash fails."""
    slot, device = update.slot, update.device
    title = f"[4/5] firmware {update.target.name} into {slot.label}"
    view = memoryview(bytearray(_BUFFER_BYTES))
    size = len(view)
    count = len(head)
    view[:count] = head
    if at == 0:
        view[:_HELD_BACK_BYTES] = b"\xff" * _HELD_BACK_BYTES  # see `arming`
    count += body.readinto(view[count:])
    ahead_bytes = 0 if end is None else _SECTOR_BYTES
    erase_at = at
    while count and at < slot.size_bytes:
        try:
            while erase_at <= at + ahead_bytes and (end is None or erase_at < end):
                slot.erase(erase_at)
                erase_at += _SECTOR_BYTES
            slot.program(at, view if count == size else view[:count])
        except OSError as error:
            raise RetryableError("flash_failed", slot.label, error)
        at += count
        device.board.feed()
        device.console.progress(title, at, size_bytes)
        count = body.readinto(view) if count == size else 0
    return Next("ota.decoder", "finish", body, at + count)

"""Writing a firmware into a slot, sector by sector, and finding where an interrupted download goes on.

How far a try got is not written down, the slot itself tells: each sector is erased before its predecessor is
programmed, so that the first blank one stands where writing stopped. That costs no write, and need not be believed: the
image is checked as a whole in the end.
"""

from agent.errors import RetryableError
from micropython import const

_SECTOR_BYTES = const(4096)
_PROBE_BYTES = const(64)


def write(update, body, view: memoryview, filled: int, at: int, end: "int | None", size_bytes: "int | None") -> int:
    """Write what `view` holds, and what follows it in `body`, from byte `at` of the update's slot on.

    Return where it ends; more than the slot's size for a firmware that is larger than it. `view` is a sector or a part
    of one, of which `filled` bytes are there already. A sector is erased before it is written; with `end`, where the
    file certainly ends, the next one is erased then; `size_bytes` is for the progress bar. RetryableError when the body
    breaks off or the flash fails."""
    slot, device = update.slot, update.device
    title = f"[4/5] firmware {update.target.name} into {slot.label}"
    size = len(view)
    count = filled + body.readinto(view[filled:])
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
    return at + count


def resume_at(slot, size_bytes: int) -> int:
    """Return the byte where an interrupted download of `size_bytes` goes on: the start of the last sector begun."""
    probe = bytearray(_PROBE_BYTES)
    blank = b"\xff" * _PROBE_BYTES
    at = _SECTOR_BYTES
    size_bytes = min(size_bytes, slot.size_bytes)
    while at < size_bytes:
        slot.read(at, probe)
        if probe == blank:
            break
        at += _SECTOR_BYTES
    return at - _SECTOR_BYTES  # the sector before the blank one may be torn

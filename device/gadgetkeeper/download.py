"""A firmware's way into a slot, sector by sector, going on where an earlier try was cut off.

How far a try got is not written down, the slot itself tells: each sector is erased before its predecessor is
programmed, so that the first blank one stands where writing stopped. That costs no write, and need not be believed: the
image is judged as a whole in the end.
"""

from micropython import const

from .errors import RetryableError

_ERASE_BLOCK = const(6)
_SECTOR_BYTES = const(4096)


def write(progress, view, count: int, slot, body, done: int, end: "int | None") -> int:
    """Write the `count` bytes in `view`, which holds a sector or a part of one, and what follows them in `body`, from
    byte `done` of the slot on; where it ends, more than the slot's size for a firmware that is larger than it.

    A sector is erased before it is written; with `end`, where the file certainly ends, the next one is erased then.
    `progress(done_bytes)` is told how it goes. RetryableError when the body breaks off or the flash fails."""
    slot_bytes, name = slot.info()[3:5]
    size = len(view)
    count += body.readinto(view[count:])
    ahead = 0 if end is None else _SECTOR_BYTES
    erase_at = done
    while count and done < slot_bytes:
        try:
            while erase_at <= done + ahead and (end is None or erase_at < end):
                slot.ioctl(_ERASE_BLOCK, erase_at // _SECTOR_BYTES)
                erase_at += _SECTOR_BYTES
            part = view if count == size else view[:count]
            slot.writeblocks(done // _SECTOR_BYTES, part, done % _SECTOR_BYTES)
        except OSError as error:
            raise RetryableError("flash_failed", name, error)
        done += count
        progress(done)
        count = body.readinto(view) if count == size else 0
    return done + count


def resume_at(slot, size_bytes: int) -> int:
    """The byte where an interrupted download of `size_bytes` goes on: the start of the last sector that was begun."""
    probe = bytearray(64)
    blank = b"\xff" * 64
    block = 1
    size_bytes = min(size_bytes, slot.info()[3])
    while block * _SECTOR_BYTES < size_bytes:
        slot.readblocks(block, probe, 0)
        if probe == blank:
            break
        block += 1
    # The sector before the blank one may be torn.
    return (block - 1) * _SECTOR_BYTES

"""A firmware's way into a slot, sector by sector, going on where an earlier try was cut off.

How far a try got is not written down, the slot itself tells: each sector is erased before its predecessor is
programmed, so that the first blank one stands where writing stopped. That costs no write, and need not be believed: the
image is judged as a whole in the end.
"""

from micropython import const

from .errors import RetryableError

_ERASE_BLOCK = const(6)
_SECTOR_BYTES = const(4096)


def fill(body, view) -> int:
    """Fill `view` from the body; fewer bytes only at its end."""
    count = 0
    while count < len(view):
        more = body.readinto(view[count:])
        if more == 0:
            break
        count += more
    return count


def write(progress, view, count: int, slot, body, done: int, size: "int | None", end: "int | None") -> int:
    """Write the `count` bytes in `view`, a part of a sector, and what follows them, from byte `done` of the slot on;
    where it ends, more than the slot's size for a firmware that is larger than it.

    A sector is erased before its first part is written; with `end`, where the file certainly ends, the next one is
    erased then. `progress(done_bytes, size)` is told how it goes. RetryableError when the body breaks off or the flash
    fails."""
    slot_bytes = slot.info()[3]
    if end is not None:
        _flash(slot, slot.ioctl, _ERASE_BLOCK, done // _SECTOR_BYTES)
    while count:
        if done == slot_bytes:
            return done + count
        block, at = done // _SECTOR_BYTES, done % _SECTOR_BYTES
        if at == 0:
            if end is None:
                _flash(slot, slot.ioctl, _ERASE_BLOCK, block)
            elif done + _SECTOR_BYTES < end:
                _flash(slot, slot.ioctl, _ERASE_BLOCK, block + 1)
        _flash(slot, slot.writeblocks, block, view[:count], at)
        done += count
        progress(done, size)
        count = fill(body, view) if count == len(view) else 0
    return done


def _flash(slot, operation, *arguments) -> None:
    try:
        operation(*arguments)
    except OSError as error:
        raise RetryableError("flash_failed", slot.info()[4], error)


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

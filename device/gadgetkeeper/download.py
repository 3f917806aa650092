"""A firmware's way into a slot, sector by sector, going on where an earlier try was cut off.

How far a try got is not written down, the slot itself tells: each sector is erased before its predecessor is
programmed, so that the first blank one stands where writing stopped. That costs no write, and need not be believed: the
image is judged as a whole in the end.
"""

from micropython import const

from .body import open_body
from .errors import RetryableError
from .image import HEAD_BYTES, too_big
from .slots import SECTOR_BYTES, fingerprint, fingerprint_of, label
from .store import is_etag

_ERASE_BLOCK = const(6)
_PROBE_BYTES = const(64)


def fetch(api, version_id: str, slot, gate, begun: dict, begin, progress, note, buffer: bytearray) -> int:
    """Write the version's firmware into `slot`; how many bytes it has. `buffer` is one sector of memory.

    `begun` is what an earlier try noted by `begin(image, etag, size)`, which is called before the first erase;
    `progress(slot_label, done_bytes, size_bytes)` and `note(sentence)` are told how it goes. RetryableError when the
    body breaks off or the flash fails, BadImage when its head shows that it must not run here."""
    start = _resume_at(slot, begun)
    reply = api.firmware(version_id, start, begun.get("etag"))
    try:
        if start and not _goes_on(reply, start, begun["size"]):
            note("starts over: the server does not offer the rest of the same file")
            start = 0
            if reply.status_code != 200:
                reply.close()
                reply = api.firmware(version_id)
        if start:
            note(f"goes on at byte {start} of {begun['size']}")
        body = open_body(reply)
        size = None if body.size_bytes is None else start + body.size_bytes
        view = memoryview(buffer)
        count = _fill(body, view)
        # Only an exact size tells which sector is the last one that may be erased.
        etag = reply.headers.get("etag") if size is not None and not body.surplus_bytes else None
        end = size if is_etag(etag) else None
        if start == 0:
            slot_bytes = slot.info()[3]
            gate.check_head(view[: min(count, HEAD_BYTES)], slot_bytes)
            if size is not None and size - body.surplus_bytes > slot_bytes:
                raise too_big(slot_bytes)
            if end is None:
                begin()
            else:
                begin(fingerprint_of(view), etag, end)
        return _write(body, view, count, slot, start, size, end, progress)
    finally:
        reply.close()


def _write(body, view, count: int, slot, done: int, size: "int | None", end: "int | None", progress) -> int:
    """Write the `count` bytes in `view` and what follows them, from byte `done` of the slot on; where it ends.

    With `end`, where the file certainly ends, each sector is erased ahead of its turn."""
    slot_bytes = slot.info()[3]
    if end is not None:
        _flash(slot.ioctl, slot, _ERASE_BLOCK, done // SECTOR_BYTES)
    while count:
        if done == slot_bytes:
            raise too_big(slot_bytes)
        for at in range(count, SECTOR_BYTES):
            view[at] = 0xFF
        block = done // SECTOR_BYTES
        if end is not None:
            if done + SECTOR_BYTES < end:
                _flash(slot.ioctl, slot, _ERASE_BLOCK, block + 1)
            _flash(slot.writeblocks, slot, block, view, 0)
        else:
            _flash(slot.writeblocks, slot, block, view)
        done += count
        progress(label(slot), done, size)
        count = _fill(body, view) if count == SECTOR_BYTES else 0
    return done


def _flash(operation, slot, *arguments) -> None:
    try:
        operation(*arguments)
    except OSError as error:
        raise RetryableError("flash_failed", f"{label(slot)} cannot be written ({error})")


def _resume_at(slot, begun: dict) -> int:
    """The byte where writing goes on: the start of the last sector that was begun; 0 when nothing of use is there."""
    if "etag" not in begun or begun["image"] != fingerprint(slot):
        return 0
    probe = bytearray(_PROBE_BYTES)
    blank = b"\xff" * _PROBE_BYTES
    block = 1
    while block * SECTOR_BYTES < begun["size"]:
        slot.readblocks(block, probe, 0)
        if probe == blank:
            break
        block += 1
    # The sector before the blank one may be torn.
    return (block - 1) * SECTOR_BYTES


def _goes_on(reply, start: int, size: int) -> bool:
    """True when the reply is the file from byte `start` to its end."""
    return reply.status_code == 206 and reply.headers.get("content-range") == f"bytes {start}-{size - 1}/{size}"


def _fill(body, view) -> int:
    """Fill `view` from the body; fewer bytes only at its end."""
    count = 0
    while count < len(view):
        more = body.readinto(view[count:])
        if more == 0:
            break
        count += more
    return count

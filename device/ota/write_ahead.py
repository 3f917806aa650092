"""The write-ahead record of a download: written before the first erase, which takes the slot's old image away."""

from agent.runner import Next, run
from micropython import const

_HELD_BACK_BYTES = const(32)
_RECORDED_BYTES = const(64)  # beyond those held back, the release's number: what tells whose download it is


def write_ahead(update, body, head, etag: "str | None", size_bytes: "int | None", is_patch: bool) -> Next:
    """Record what is about to be written, and have the firmware that begins with `head` written, see `writer.write`.

    With an `etag`, `size_bytes` is where it certainly ends, and its download can be resumed."""
    pending, record = update.pending, update.device.record
    update.slot.held_back = bytes(head[:_HELD_BACK_BYTES])
    if run("agent.identifiers", "is_etag", etag):
        pending.head, pending.etag, pending.size_bytes = bytes(head[:_RECORDED_BYTES]).hex(), etag, size_bytes
        pending.whole = not is_patch  # the rest comes as the beginning did
    record.downloads = record.downloads + 1 if record.day == update.day else 1
    record.day = update.day
    record.write_ahead(pending)
    return Next("ota.writer", "write", update, body, head, 0, pending.size_bytes, size_bytes)

"""Bringing a firmware into the free slot and having the boot loader try it: the transaction's part before the reset.

What lies between `begin` and `arm` is `download.write`, which needs the memory that both take.
"""

from . import forget
from .errors import FinalError, RetryableError


def begin(reply, asked_from: int, body, head: memoryview, state: dict, version_id: str, board, note) -> tuple:
    """Judge the firmware in `reply` (see `Api.firmware`) by its `head`, the first bytes of its `body`, and put the
    intent on flash; what `download.write` goes on with. FinalError when the head shows that it must not run here, and
    then the version is left alone until the target changes.

    `asked_from` is the byte from which on it was asked for, `board` has `Partition` and `chip_revision`;
    `note(sentence)` is told how it goes."""
    slot, running, update = _place(state, version_id, board)
    start = 0
    if reply.status_code == 206:
        start = int(reply.headers["content-range"][6:].partition("-")[0])
        note(f"goes on at byte {start}")
    elif asked_from:
        note("starts over: the server does not offer the rest of it")
    forget()
    size = None if body.size_bytes is None else start + body.size_bytes
    # Only an exact size tells which sector is the last one that may be erased.
    etag = reply.headers.get("etag") if size is not None and not body.surplus_bytes else None
    end = size if etag else None
    if start == 0:
        least = 0 if body.surplus_bytes else size or 0  # escapes make a text look longer than its image is
        _judge(state, update, _check_head, head, least, slot, running, board.chip_revision())
        forget()
        end = _note_intent(state, update, head, etag, size)
    return slot, body, start, size, end


def arm(view: memoryview, state: dict, version_id: str, board, keys: "list[str]", size_bytes: "int | None") -> None:
    """Check the image in the free slot from flash, and have the boot loader try it at the next reset.

    `size_bytes` is what `download.write` gave, None for an image that was armed before and should still be there;
    `keys` are the digests of those that may sign."""
    slot, running, update = _place(state, version_id, board)
    forget()
    from .fingerprint import fingerprint

    image = fingerprint(slot)
    # What should still be there from another time need not be: the board may have been flashed by cable since.
    other = state["update"].get("image", image) != image
    _judge(state, update, _check, slot, size_bytes, other, running, board.chip_revision(), keys, view)
    forget()
    from .slots import Slots
    from .store import keep

    # The attempt is counted before it is made: a boot that never comes back must count, too.
    attempts = update["attempts"] + 1
    keep(state, update=dict(update, attempts=attempts, phase="armed", image=image), quarantined=None)
    _judge(state, update, Slots(board.Partition).arm, slot)


def _place(state: dict, version_id: str, board):
    """The free slot, the running one, and what the record is to say of this update."""
    from .fingerprint import label
    from .slots import Slots

    slots = Slots(board.Partition)
    slot = slots.free()
    begun = state.get("update", {})
    attempts = begun["attempts"] if begun.get("versionId") == version_id and begun["slot"] == label(slot) else 0
    return slot, slots.running, {"versionId": version_id, "slot": label(slot), "attempts": attempts}


def _note_intent(state: dict, update: dict, view, etag: "str | None", size: "int | None") -> "int | None":
    """Put the intent on flash: from here on the slot's old image is gone. Where the firmware certainly ends."""
    from .fingerprint import fingerprint_of
    from .store import is_etag, keep

    end = size if is_etag(etag) else None
    resume = {} if end is None else {"image": fingerprint_of(view), "etag": etag, "size": size}
    keep(state, update=dict(update, phase="download", **resume), quarantined=None)
    return end


def _check_head(*arguments) -> None:
    from .gate import check_head

    check_head(*arguments)


def _check(slot, size_bytes: "int | None", other: bool, running, revision, keys: "list[str]", view: memoryview) -> None:
    if other:
        raise RetryableError("wrong_hash")
    slot.readblocks(0, view, 0)
    _check_head(view, size_bytes or 0, slot, running, revision)
    from .image import check_slot

    check_slot(slot, size_bytes, keys, view)


def _judge(state: dict, update: dict, judgement, *arguments) -> None:
    """Have the firmware judged; a version that fails is noted on flash."""
    try:
        judgement(*arguments)
    except (FinalError, RetryableError) as error:
        from .store import keep
        from .update import give_up, verdict

        update["attempts"] += 1
        update["code"] = error.code
        if isinstance(error, FinalError):
            give_up(state, update)
        else:
            # Perhaps the way here has damaged a sound image: the next try starts with nothing of it.
            keep(state, update=dict(update, phase="download"), verdict=verdict(update, "download"))
        raise

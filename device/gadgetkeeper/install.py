"""Bringing a firmware into the free slot and having the boot loader try it: the transaction's part before the reset.

What lies between `begin` and `arm` is `download.write`, which needs the memory that both take.
"""

from . import forget
from .errors import FinalError, RetryableError


def place(state: dict, version_id: str, board) -> tuple:
    """What this update is about: the record `state`, what it is to say of the update, the free slot, and the running
    one. `board` has `Partition`."""
    from .fingerprint import label
    from .slots import Slots

    slots = Slots(board.Partition)
    slot = slots.free()
    begun = state.get("update", {})
    attempts = begun["attempts"] if begun.get("versionId") == version_id and begun["slot"] == label(slot) else 0
    return state, {"versionId": version_id, "slot": label(slot), "attempts": attempts}, slot, slots.running


def begin(job: tuple, reply, asked_from: int, body, head: memoryview, revision: "int | None", note) -> tuple:
    """Judge the firmware in `reply` (see `Api.firmware`) by its `head`, the first bytes of its `body`, and put the
    intent on flash; for `download.write` the byte it goes on at, about how many there will be, and where the file
    certainly ends. FinalError when the head shows that it must not run here, and then the version is left alone until
    the target changes.

    `job` is what `place` gave, `asked_from` the byte from which on the firmware was asked for, `revision` the chip's;
    `note(sentence)` is told how it goes."""
    start = asked_from if reply.status_code == 206 else 0
    if start:
        note(f"goes on at byte {start}")
    elif asked_from:
        note("starts over: the server does not offer the rest of it")
    size = None if body.size_bytes is None else start + body.size_bytes
    # Only an exact size tells which sector is the last one that may be erased.
    etag = reply.headers.get("etag") if size is not None and not body.surplus_bytes else None
    end = size if etag else None
    if start == 0:
        least = 0 if body.surplus_bytes else size or 0  # escapes make a text look longer than its image is
        _judge(job, _check_head, head, least, job[2], job[3], revision)
        forget()
        end = _note_intent(job, head, etag, size)
    return start, size, end


def arm(job: tuple, size_bytes: "int | None", keys: "list[str]", board, view: memoryview) -> None:
    """Check the image in the free slot from flash, and have the boot loader try it at the next reset.

    `job` is what `place` gave; `size_bytes` what `download.write` gave, None for an image that was armed before and
    should still be there; `keys` are the digests of those that may sign; `view` is scratch memory for a sector or a
    part of one."""
    from .fingerprint import fingerprint

    state, update, slot, _ = job
    image = fingerprint(slot)
    # What should still be there from another time need not be: the board may have been flashed by cable since.
    other = state["update"].get("image", image) != image
    _judge(job, _check, job, size_bytes, other, keys, board.chip_revision(), view)
    forget()
    from .slots import Slots
    from .store import keep

    # The attempt is counted before it is made: a boot that never comes back must count, too.
    attempts = update["attempts"] + 1
    keep(state, update=dict(update, attempts=attempts, phase="armed", image=image), quarantined=None)
    _judge(job, Slots(board.Partition).arm, slot)


def _note_intent(job: tuple, head, etag: "str | None", size: "int | None") -> "int | None":
    """Put the intent on flash: from here on the slot's old image is gone. Where the firmware certainly ends."""
    from .fingerprint import fingerprint_of
    from .store import is_etag, keep

    end = size if is_etag(etag) else None
    resume = {} if end is None else {"image": fingerprint_of(head), "etag": etag, "size": size}
    keep(job[0], update=dict(job[1], phase="download", **resume), quarantined=None)
    return end


def _check_head(*arguments) -> None:
    from .gate import check_head

    check_head(*arguments)


def _check(
    job: tuple, size_bytes: "int | None", other: bool, keys: "list[str]", revision: "int | None", view: memoryview
) -> None:
    if other:
        raise RetryableError("wrong_hash")
    _, _, slot, running = job
    slot.readblocks(0, view, 0)
    _check_head(view, size_bytes or 0, slot, running, revision)
    from .image import check_slot

    check_slot(slot, size_bytes, keys, view)


def _judge(job: tuple, judgement, *arguments) -> None:
    """Have the firmware judged; a version that fails is noted on flash."""
    try:
        judgement(*arguments)
    except (FinalError, RetryableError) as error:
        from .store import keep
        from .update import give_up, verdict

        state, update, _, _ = job
        update["attempts"] += 1
        update["code"] = error.code
        if isinstance(error, FinalError):
            give_up(state, update)
        else:
            # Perhaps the way here has damaged a sound image: the next try starts with nothing of it.
            keep(state, update=dict(update, phase="download"), verdict=verdict(update, "download"))
        raise

"""Step 4 of the scenario: the firmware's way from the server's answer into the free slot.

Each part of the way needs other modules, and the longest one, the download, needs the memory most. So each is imported
for its part only.
"""

import board
from micropython import const

from . import forget
from .console import bar, step

_HEAD_BYTES = const(288)  # what the first judgement needs
_SECTOR_BYTES = const(4096)
_PART_BYTES = const(2048)  # of a sector


def install(replies: list, keys: list, state: dict, target: str, name: str) -> None:
    """Bring the firmware that the server's answer holds into the free slot, and have the boot loader try it; to be
    reset afterwards. `replies` is empty when it should still be there, because it was armed before. AgentError when
    that fails; a version that must not run here is then left alone until the target changes."""

    def note(sentence: str) -> None:
        step(4, "firmware {} {}", name, sentence)

    if not keys:
        note("needs no signature: /config.json has no signing_keys")
    reply = replies.pop() if replies else None
    size = view = None
    try:
        from .install import place

        job = place(state, target, board)
        del place
        forget()
        if reply:
            from .body import open_body

            body = open_body(reply)
            head = memoryview(bytearray(_HEAD_BYTES))
            head = head[: body.readinto(head)]
            del open_body
            forget()
            from .install import begin

            start, size, end = begin(job, reply, replies.pop(), body, head, board.chip_revision(), note)
            del begin
            forget()
            from .download import write

            view = _scratch()
            count = len(head)
            view[:count] = head
            del head
            title = f"[4/5] firmware {name} into {job[1]['slot']}"

            def progress(done: int) -> None:
                board.feed()
                bar(title, done, size)

            size = write(progress, view, count, job[2], body, start, end)
            del write
            body.finish()
            del body
    finally:
        if reply:
            reply.close()
    del reply
    forget()
    from .install import arm

    arm(job, size, keys, board, view or _scratch())
    note("checked, starting it")


def _scratch() -> memoryview:
    """Memory for a sector, or for a part of one on a heap that has no such piece left."""
    try:
        return memoryview(bytearray(_SECTOR_BYTES))
    except MemoryError:
        return memoryview(bytearray(_PART_BYTES))

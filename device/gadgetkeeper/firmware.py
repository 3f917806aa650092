"""Step 4 of the scenario: the firmware's way from the server's answer into the free slot.

Each part of the way needs other modules, and the longest one, the download, needs the memory most. So each is imported
for its part only.
"""

import board
from micropython import const

from . import forget
from .console import bar, step

_PART_BYTES = const(2048)  # of a sector, at a time


def install(replies: list, keys: list, state: dict, target: str, name: str) -> None:
    """Bring the firmware that the server's answer holds into the free slot, and have the boot loader try it; to be
    reset afterwards. `replies` is empty when it should still be there, because it was armed before. AgentError when
    that fails; a version that must not run here is then left alone until the target changes."""

    def note(sentence: str) -> None:
        step(4, "firmware {} {}", name, sentence)

    if not keys:
        note("needs no signature: /config.json has no signing_keys")
    size = None
    view = memoryview(bytearray(_PART_BYTES))  # early: later there may be no such piece
    if replies:
        reply = replies.pop()
        try:
            from .body import open_body
            from .download import fill

            body = open_body(reply)
            count = fill(body, view)
            del open_body, fill
            forget()
            from .install import begin

            firmware = begin(reply, replies.pop(), body, view[:count], state, target, board, note)
            del begin, body
            forget()
            from .download import write

            title = f"[4/5] firmware {name} into {firmware[0].info()[4]}"

            def progress(done: int, size: "int | None") -> None:
                board.feed()
                bar(title, done, size)

            size = write(progress, view, count, *firmware)
            del write, firmware
        finally:
            reply.close()
        del reply
        forget()
    from .install import arm

    arm(view, state, target, board, keys, size)
    note("checked, starting it")

"""Opening a patch: is it one for the release that runs, and where does it go on?"""

import io

from agent.errors import PermanentError
from agent.runner import run
from micropython import const

from .patch_header import check_base, read_header

_PIECE_BYTES = const(2048)  # read at once; gone when the patch is followed


def open_patch(update, response):
    """Return the body that `response` and the running release make together, see `decoder.open_body`.

    Its bytes begin at the update's `offset`. PermanentError for a patch of another release, RetryableError for one that
    is cut or damaged; nothing has been erased by then."""
    begun = update.patch_header
    try:
        header = read_header(io.BytesIO(begun) if begun else response, update.slot.size_bytes)
    except PermanentError as error:
        if error.code == "image_too_big":
            update.refuse(error)
        raise
    view = memoryview(bytearray(_PIECE_BYTES))
    check_base(header, update.running, view)
    block = update.offset // header.block_bytes
    body = run("ota.patch", "PatchBody", response, update.running, header, block)
    left_bytes = update.offset - block * header.block_bytes
    body.size_bytes -= left_bytes
    while left_bytes:  # what is on flash already, and is not erased again
        left_bytes -= body.readinto(view[: min(left_bytes, _PIECE_BYTES)])
    if not update.offset:
        how = "as a patch of" if header.base_bytes else "compressed,"
        update.say(f"comes {how} {header.patch_bytes} bytes for {header.size_bytes}")
    return body

"""Asking for the rest of an interrupted download: as a patch where that may be, and for no more than what is
missing."""

import io

from agent.errors import RetryableError
from agent.runner import run
from micropython import const

from .patch_header import HEADER_MAX_BYTES, read_header
from .update import Download

_PARTIAL_CONTENT = const(206)
_IM_USED = const(226)


def fetch_rest(update, source: str):
    """Return the server's response for what an interrupted download has not brought, see `firmware` of `source`.

    Sets where in the image its bytes go on, and what else is known of its patch. AgentError as `source` has them."""
    response = _fetch_rest_of_patch(update, source) if update.download.base else None
    if response is None:
        download = update.download
        download.base, download.start = "", update.offset
        response = run(source, "firmware", update.device, update.target.id, download)
    if response.status_code == _PARTIAL_CONTENT or update.patch_header:
        update.say(f"goes on at byte {update.offset}")
    else:
        update.say("starts over: the server does not offer the rest of it")
        update.offset = 0
    return response


def _fetch_rest_of_patch(update, source: str):
    """Return the response with the patch's blocks from the one that was cut on, or with a whole; None when the server
    has the firmware's rest but no patch."""
    device, version_id, begun = update.device, update.target.id, update.download
    head = Download(begun.base, 0, HEADER_MAX_BYTES, 0, begun.etag)
    response = run(source, "firmware", device, version_id, head)
    if response.status_code == _PARTIAL_CONTENT:
        response.close()
        return None
    if "content-range" not in response.headers:
        return response  # the server knows no ranges, or has another firmware under this version
    try:
        data = _read(response)
    finally:
        response.close()
    try:
        header = read_header(io.BytesIO(data), update.slot.size_bytes)
    except RetryableError:
        raise RetryableError("patch_damaged", "header")
    if header.size_bytes != begun.size_bytes:
        return run(source, "firmware", device, version_id, Download(begun.base))
    start = header.offset(update.offset // header.block_bytes)
    response = run(
        source, "firmware", device, version_id, Download(begun.base, start, 0, header.patch_bytes, begun.etag)
    )
    if response.status_code == _IM_USED and "content-range" in response.headers:
        update.patch_header = data[: header.offset(0)]
    return response


def _read(response) -> bytes:
    data = b""
    view = memoryview(bytearray(HEADER_MAX_BYTES))
    while len(data) < HEADER_MAX_BYTES:
        count = response.readinto(view[len(data) :])
        if not count:
            break
        data += view[len(data) : len(data) + count]
    return data

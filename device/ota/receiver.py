"""Bringing the firmware from the server's response into the free slot. `update` is an `update.Update`, see `plan`."""

from agent.errors import AgentError, PermanentError
from agent.runner import Next, run
from micropython import const

_HEAD_BYTES = const(288)  # what the header check needs
_SECTOR_BYTES = const(4096)
_IM_USED = const(226)


def receive(update, response, body) -> Next:
    """Return the phase that writes the firmware in the response's body into the slot, once its header has been checked;
    a download that goes on has been checked when it began. AgentError when it may not run here, or the body breaks
    off."""
    head = memoryview(bytearray(_HEAD_BYTES))
    head = head[: body.readinto(head)]
    offset = update.offset
    size_bytes = None if body.size_bytes is None else offset + body.size_bytes
    # Only an exact size tells which sector is the last one that may be erased.
    etag = None if size_bytes is None or body.surplus_bytes else response.headers.get("etag")
    if offset == 0:
        # Escapes make a text look longer than its image is.
        least_bytes = size_bytes if size_bytes and not body.surplus_bytes else 0
        try:
            run("ota.header", "check_header", update, head, least_bytes)
            if size_bytes and not body.surplus_bytes:
                _check_signature_fits(update, size_bytes)
        except AgentError as error:
            update.refuse(error)
        is_patch = response.status_code == _IM_USED
        return Next("ota.write_ahead", "write_ahead", update, body, head, etag, size_bytes, is_patch)
    return Next("ota.writer", "write", update, body, head, offset, size_bytes if etag else None, size_bytes)


def _check_signature_fits(update, size_bytes: int) -> None:
    """Refuse what cannot be signed by its size: a signature makes an image whole sectors long."""
    if update.device.settings.signing_keys and size_bytes % _SECTOR_BYTES:
        raise PermanentError("no_signature")

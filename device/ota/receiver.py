"""Bringing the firmware from the server's response into the free slot."""

from agent.errors import AgentError
from agent.runner import run
from micropython import const

from .scratch import scratch
from .update import Update

_HEADER_BYTES = const(288)  # what the header check needs
_PARTIAL_CONTENT = const(206)


def receive(update: Update, response) -> int:
    """Write the firmware in the response into the slot, if its header may run here; return its size in bytes.

    AgentError when it may not, the body breaks off, or the flash fails."""
    body = run("ota.decoder", "open_body", response)
    view = scratch()
    head = view[: body.readinto(view[:_HEADER_BYTES])]
    offset = _offset(update, response)
    size_bytes = None if body.size_bytes is None else offset + body.size_bytes
    # Only an exact size tells which sector is the last one that may be erased.
    etag = None if size_bytes is None or body.surplus_bytes else response.headers.get("etag")
    end = size_bytes if etag else None
    if offset == 0:
        # Escapes make a text look longer than its image is.
        least_bytes = size_bytes if size_bytes and not body.surplus_bytes else 0
        try:
            run("ota.header", "check_header", update, head, least_bytes)
        except AgentError as error:
            update.refuse(error)
        end = run("ota.reconcile", "write_ahead", update, head, etag, size_bytes)
    written_bytes = run("ota.writer", "write", update, body, view, len(head), offset, end, size_bytes)
    body.finish()
    return written_bytes


def _offset(update: Update, response) -> int:
    """Return the byte from which on the server gives the firmware."""
    asked = update.download.offset
    if asked and response.status_code == _PARTIAL_CONTENT:
        update.say(f"goes on at byte {asked}")
        return asked
    if asked:
        update.say("starts over: the server does not offer the rest of it")
    return 0

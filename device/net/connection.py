"""Connections: plain ones, and TLS to a server that proves who it is."""

import select
import socket
import time

from agent.errors import AgentError, RetryableError
from agent.runner import run
from micropython import const

_EAGAIN = const(11)
_CONNECT_TIMEOUT_S = const(15)
_SEND_MS = const(20000)  # for the TLS handshake, and for the request
_POLL_MS = const(50)


def reuse(link, origin: str, message: bytes):
    """Send `message` over the link's open connection to `origin` and return it; None when it is not good any more, or
    leads elsewhere. It is then closed."""
    raw, link.raw = link.raw, None
    try:
        if origin == link.origin and _is_idle(raw):
            send(raw, message, _stalled(origin, True))
            return raw
    except Exception:  # a server may close a kept connection at any time
        pass
    raw.close()
    return None


def open_connection(host: str, port: int, uses_tls: bool, ca: str, message: bytes):
    """Return a connection over which `message` has been sent; with TLS, to a server that one of the certificates in the
    file `ca` vouches for, and for being this host.

    OSError when there is no connection; RetryableError when the server does not prove who it is; PermanentError when
    `ca` cannot be used."""
    context = run("net.tls_context", "tls_context", host, ca) if uses_tls else None
    family, _, _, _, place = socket.getaddrinfo(host, port, 0, socket.SOCK_STREAM)[0]
    plain = socket.socket(family, socket.SOCK_STREAM)
    raw = None
    try:
        plain.settimeout(_CONNECT_TIMEOUT_S)
        plain.connect(place)
        plain.setblocking(False)
        raw = plain
        if context:
            # No waiting for the handshake here: a server that stalls in it would never let go of us.
            raw = context.wrap_socket(plain, server_hostname=host, do_handshake_on_connect=False)
        send(raw, message, _stalled(host, uses_tls))
        return raw
    except BaseException as error:
        plain.close()
        if not raw or not context or isinstance(error, AgentError) or not isinstance(error, Exception):
            raise
        raise run("net.tls_context", "refusal", host, ca, error)


def send(raw, message: bytes, stalled: RetryableError) -> None:
    """Send all of `message`, after the handshake if it is still to come. OSError or ValueError when that fails,
    `stalled` when it takes longer than 20 s."""
    write = getattr(raw, "write", None) or raw.send
    poller = select.poll()
    poller.register(raw, select.POLLIN)
    view = memoryview(message)
    start_ms = time.ticks_ms()
    while view:
        try:
            count = write(view) or 0
        except OSError as error:
            if error.errno != _EAGAIN:
                raise
            count = 0
        view = view[count:]
        if not count:
            if time.ticks_diff(time.ticks_ms(), start_ms) > _SEND_MS:
                raise stalled
            poller.poll(_POLL_MS)


def _stalled(host: str, uses_tls: bool) -> RetryableError:
    """Return the error for a server that takes no request; both count as silence, see `agent.outage`."""
    return RetryableError("tls_stalled", host) if uses_tls else RetryableError("no_answer", host, "it takes no request")


def _is_idle(raw) -> bool:
    """Return True when nothing has arrived on a TLS connection: neither its end nor an answer nobody has asked for."""
    try:
        return raw.readinto(bytearray(1)) is None
    except OSError:
        return False

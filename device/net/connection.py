"""Connections: plain ones, and TLS to a server that proves who it is."""

import select
import socket
import time

from agent.errors import AgentError, PermanentError, RetryableError, reason
from micropython import const

from .response import EAGAIN

_CONNECT_TIMEOUT_S = const(15)
_SEND_MS = const(20000)  # for the TLS handshake, and for the request
_POLL_MS = const(50)


def reuse(link, origin: str):
    """Return the link's open connection to `origin` if it is still good, otherwise None; any other one is closed."""
    raw, link.raw = link.raw, None
    if raw and (origin != link.origin or not _is_idle(raw)):
        raw.close()
        return None
    return raw


def open_connection(address, ca: str, message: bytes):
    """Return a connection to the `address` over which `message` has been sent; with TLS, to a server that one of the
    certificates in the file `ca` vouches for, and for being this host.

    OSError when there is no connection; RetryableError when the server does not prove who it is."""
    context = _tls_context(address.host, ca) if address.uses_tls else None
    family, _, _, _, place = socket.getaddrinfo(address.host, address.port, 0, socket.SOCK_STREAM)[0]
    plain = socket.socket(family, socket.SOCK_STREAM)
    raw = None
    try:
        plain.settimeout(_CONNECT_TIMEOUT_S)
        plain.connect(place)
        plain.setblocking(False)
        raw = plain
        if context:
            # No waiting for the handshake here: a server that stalls in it would never let go of us.
            raw = context.wrap_socket(plain, server_hostname=address.host, do_handshake_on_connect=False)
        send(raw, message, address.host)
        return raw
    except BaseException as error:
        plain.close()
        if not raw or not context or isinstance(error, AgentError):
            raise
        raise _refusal(address.host, ca, error)


def send(raw, message: bytes, host: str) -> None:
    """Send all of `message`, after the handshake if it is still to come. OSError or ValueError when that fails."""
    write = getattr(raw, "write", None) or raw.send
    poller = select.poll()
    poller.register(raw, select.POLLIN)
    view = memoryview(message)
    start_ms = time.ticks_ms()
    while view:
        try:
            count = write(view) or 0
        except OSError as error:
            if error.errno != EAGAIN:
                raise
            count = 0
        view = view[count:]
        if time.ticks_diff(time.ticks_ms(), start_ms) > _SEND_MS:
            raise RetryableError("tls_stalled", host)
        if not count:
            poller.poll(_POLL_MS)


def _is_idle(raw) -> bool:
    """Return True when nothing has arrived on a TLS connection: neither its end nor an answer nobody has asked for."""
    try:
        return raw.readinto(bytearray(1)) is None
    except OSError:
        return False


def _tls_context(host: str, ca: str):
    """Return a TLS context that trusts the certificates in the file `ca`, PEM or DER."""
    import binascii
    import gc

    import tls

    if not ca:
        raise PermanentError("no_ca", host)
    gc.collect()  # what Python has, TLS cannot get
    context = tls.SSLContext(tls.PROTOCOL_TLS_CLIENT)
    context.verify_mode = tls.CERT_REQUIRED  # type: ignore[attr-defined]
    count = 0
    text = b""
    try:
        with open(ca, "rb") as file:
            for line in file:
                if not text and line[:1] == b"\x30":  # DER; base64 of it would begin with M
                    context.load_verify_locations(line + file.read())
                    return context
                if line[:9] == b"-----END ":
                    context.load_verify_locations(binascii.a2b_base64(text))
                    count += 1
                text = b"" if line[:5] == b"-----" else text + line
        if count == 0:
            raise ValueError
    except (OSError, ValueError) as error:
        raise PermanentError("bad_ca", ca, reason(error))
    return context


_REFUSALS = {  # as mbedTLS words them
    "trusted": "unknown_ca",
    "match": "wrong_host",
    "expired": "cert_expired",
    "future": "cert_not_yet_valid",
}


def _refusal(host: str, ca: str, error: BaseException) -> RetryableError:
    for words, code in _REFUSALS.items():
        if words in str(error):
            return RetryableError(code, host, ca, "{}-{:02}-{:02}".format(*time.localtime()))
    return RetryableError("tls_failed", host, str(error).strip() if isinstance(error, ValueError) else reason(error))

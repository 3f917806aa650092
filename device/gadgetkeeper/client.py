"""The agent's own connections: TLS to a server that proves who it is, and plain ones where there is no urequests."""

import select
import socket
import time

from micropython import const

from .errors import AgentError, FinalError, RetryableError
from .reply import EAGAIN, Reply, reason
from .transport import read_head

_CONNECT_TIMEOUT_S = const(15)
_HANDSHAKE_MS = const(20000)
_SLICE_MS = const(50)


def exchange(session, origin: str, host: str, port: int, method: str, path: str, data, headers: dict) -> Reply:
    """Send one request of the `session` (see `transport.Session`), over the connection that it has kept if that is
    still good; the reply's head has been read."""
    tls = origin[4] == "s"
    text = f"{method} {path} HTTP/1.1\r\n"
    for name in headers:
        text += f"{name}: {headers[name]}\r\n"
    message = (text + "\r\n").encode() + (data or b"")
    raw = take_kept(session, origin)
    while True:
        fresh = raw is None
        if fresh:
            raw = open_connection(host, port, session.ca if tls else None, message)
        reply = Reply(raw, [None] if tls else [])
        try:
            if not fresh:
                send(raw, message, host)
            read_head(reply)
        except BaseException:
            raw.close()
            # A server may close a kept connection at any time: what it has not begun to answer is sent once more.
            if fresh or reply.begun:
                raise
            raw = None
            continue
        session.kept = reply.kept
        session.origin = origin
        return reply


def take_kept(session, origin: str):
    """The open connection to `origin`, if it is still good; a connection to anybody else is closed."""
    raw = session.kept[0] if session.kept else None
    session.kept.clear()
    if raw and (origin != session.origin or not is_idle(raw)):
        raw.close()
        return None
    return raw


def open_connection(host: str, port: int, ca: "str | None", message: bytes):
    """A connection over which `message` has been sent; with `ca`, the file of trusted certificates, over TLS to a
    server that one of them vouches for, and for being `host`.

    OSError when there is no connection; RetryableError when the server does not prove who it is."""
    context = None if ca is None else _context(host, ca)
    address = socket.getaddrinfo(host, port, 0, socket.SOCK_STREAM)[0]
    plain = socket.socket(address[0], socket.SOCK_STREAM)
    raw = None
    try:
        plain.settimeout(_CONNECT_TIMEOUT_S)
        plain.connect(address[-1])
        plain.setblocking(False)
        raw = plain
        if context:
            # No waiting for the handshake here: a server that stalls in it would never let go of us.
            raw = context.wrap_socket(plain, server_hostname=host, do_handshake_on_connect=False)
        send(raw, message, host)
        return raw
    except BaseException as error:
        plain.close()
        if not raw or not context or isinstance(error, AgentError):
            raise
        raise _refusal(host, ca, error)


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
        if time.ticks_diff(time.ticks_ms(), start_ms) > _HANDSHAKE_MS:
            raise RetryableError("tls_stalled", host)
        if not count:
            poller.poll(_SLICE_MS)


def is_idle(raw) -> bool:
    """True when nothing has arrived on a TLS connection: neither its end nor an answer nobody has asked for."""
    try:
        return raw.readinto(bytearray(1)) is None
    except OSError:
        return False


def _context(host: str, ca: str):
    """A TLS context that trusts the certificates in the file `ca`, PEM or DER."""
    import binascii
    import gc

    import tls

    if not ca:
        raise FinalError("no_ca", host)
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
        raise FinalError("bad_ca", ca, reason(error))
    return context


def _refusal(host: str, ca: object, error: BaseException) -> RetryableError:
    for words, code in (
        ("trusted", "unknown_ca"),
        ("match", "wrong_host"),
        ("expired", "cert_expired"),
        ("future", "cert_not_yet_valid"),
    ):
        if words in str(error):  # as mbedTLS words it
            return RetryableError(code, host, ca, "{}-{:02}-{:02}".format(*time.localtime()))
    return RetryableError("tls_failed", host, str(error).strip() if isinstance(error, ValueError) else reason(error))

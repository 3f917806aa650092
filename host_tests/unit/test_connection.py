"""Connections: what ends a program is not taken for a server's failure."""

import sys

import net.connection
from agent.device import Link
from agent.errors import AgentError, PermanentError
from net.sender import Address


class Plain:
    """A connection that works; `closed` once it is let go of."""

    closed = False

    def settimeout(self, timeout_s):
        pass

    def connect(self, place):
        pass

    def setblocking(self, flag):
        pass

    def close(self):
        self.closed = True


class World:
    """Sockets that connect, and TLS that ends with `error`: stands in place of `socket` and of `net.tls_context`."""

    SOCK_STREAM = 1

    def __init__(self, error):
        self.error = error
        self.plain = Plain()

    def getaddrinfo(self, host, port, family, kind):
        return [(2, 1, 6, "", (host, port))]

    def socket(self, family, kind):
        return self.plain

    def tls_context(self, host, ca):
        return self

    def wrap_socket(self, plain, server_hostname, do_handshake_on_connect):
        raise self.error

    def refusal(self, host, ca, error):
        return AgentError("tls_failed", host, str(error))


def opened(error):
    """What comes out of opening a connection whose TLS ends with `error`, and whether its socket was closed."""
    kept = net.connection.socket
    net.connection.socket = sys.modules["net.tls_context"] = world = World(error)
    try:
        net.connection.open_connection("server", 443, True, "/ca.pem", b"GET / HTTP/1.1")
    except BaseException as raised:
        return raised, world.plain.closed
    finally:
        net.connection.socket = kept
        del sys.modules["net.tls_context"]
    raise AssertionError("no error")


def test_interrupt_during_a_handshake_ends_the_program_and_is_no_refusal_of_the_server():
    for error in (KeyboardInterrupt(), SystemExit()):
        raised, is_closed = opened(error)
        assert raised is error and is_closed


def test_failed_handshake_is_a_refusal_and_lets_go_of_the_socket():
    for error in (OSError(5), ValueError("invalid cert")):
        raised, is_closed = opened(error)
        assert raised.code == "tls_failed" and is_closed


class Kept:
    """A TLS connection that was kept; `idle` while nothing has arrived on it. `sent` is what went over it."""

    def __init__(self, idle):
        self.idle = idle
        self.closed = False
        self.sent = b""

    def readinto(self, buffer):
        return None if self.idle else 0

    def write(self, view):
        self.sent += bytes(view)
        return len(view)

    def close(self):
        self.closed = True


class Poll:
    """Stands in place of `select`."""

    POLLIN = 1

    def poll(self):
        return self

    def register(self, raw, events):
        pass


def test_kept_connection_carries_requests_to_its_own_server_alone_and_is_closed_otherwise():
    select, net.connection.select = net.connection.select, Poll()
    try:
        for origin, idle, is_used in (
            ("https://a", True, True),
            ("https://b", True, False),
            ("https://a:444", True, False),
            ("https://a", False, False),
        ):
            link = Link()
            link.raw, link.origin = kept, _ = Kept(idle), "https://a"
            found = net.connection.reuse(link, origin, b"GET")
            assert (found is kept) is is_used and kept.closed is not is_used, origin
            assert kept.sent == (b"GET" if is_used else b"") and link.raw is None, origin
    finally:
        net.connection.select = select


def test_password_in_an_address_is_in_no_error():
    for url in ("http://vendor:secret@host:99999/", "ftp://vendor:secret@host/", "https://vendor:secret@:443/"):
        try:
            Address(url)
            raise AssertionError(url)
        except PermanentError as error:
            assert error.code == "bad_server" and "secret" not in str(error.args), error.args
